//! Which transmissions acks have shown to have arrived. Pure.

/// What acks have shown, over all of them. A reading that was sent once proves its transmission. One that was sent
/// again proves only one of several, perhaps the first: taken for the last, it would make everything sent in between
/// look lost, while it is on its way, for example through the edge's spool after an outage.
#[derive(Debug)]
pub(crate) struct Shown<K, N> {
    /// The latest transmission of a reading that was sent once,
    once: Option<(K, N)>,
    /// and of one that was sent again.
    again: Option<(K, N)>,
}

impl<K, N> Default for Shown<K, N> {
    fn default() -> Self {
        Self { once: None, again: None }
    }
}

/// What one ack shows.
#[derive(Debug)]
pub(crate) struct Proof<N> {
    once: N,
    again: N,
    /// A reading that was sent once has left with this ack.
    fresh: bool,
}

impl<K: Copy, N: Copy + Ord + Default> Shown<K, N> {
    /// Of an ack that names what `names` says, as far as that has left the outbox before.
    pub(crate) fn proof(&self, names: impl Fn(K) -> bool) -> Proof<N> {
        let of = |known: Option<(K, N)>| known.filter(|(key, _)| names(*key)).map(|(_, order)| order);
        Proof { once: of(self.once).unwrap_or_default(), again: of(self.again).unwrap_or_default(), fresh: false }
    }

    /// A reading leaves the outbox with this ack.
    pub(crate) fn leaves(&mut self, proof: &mut Proof<N>, key: K, order: N, repeated: bool) {
        let (known, latest) =
            if repeated { (&mut self.again, &mut proof.again) } else { (&mut self.once, &mut proof.once) };
        *latest = order.max(*latest);
        if known.is_none_or(|(_, known)| known < order) {
            *known = Some((key, order));
        }
        proof.fresh |= !repeated;
    }
}

impl<N: Copy + Ord> Proof<N> {
    /// The latest transmission that has arrived, as far as can be told. What was sent again counts where nothing better
    /// came: after a loss nothing else may be left to come.
    pub(crate) fn latest(&self) -> N {
        if self.fresh { self.once } else { self.once.max(self.again) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_again_proves_nothing_beside_what_was_sent_once() {
        let mut shown = Shown::default();
        let mut proof = shown.proof(|_| false);
        shown.leaves(&mut proof, 1, 900_u64, true);
        assert_eq!(proof.latest(), 900, "alone it is all there is");
        let mut proof = shown.proof(|key| key == 1);
        shown.leaves(&mut proof, 2, 2, false);
        assert_eq!(proof.latest(), 2);
        // Named again, with nothing new: a hint of a loss.
        assert_eq!(shown.proof(|_| true).latest(), 900);
        assert_eq!(shown.proof(|key| key == 2).latest(), 2);
        assert_eq!(shown.proof(|_| false).latest(), 0);
    }
}

//! A batch as networks take it and answer it: row stands beside row, so that every product runs over as many neighbouring
//! numbers as there are rows, however narrow a network is. With the rows outermost it took more than twice as long.

use tch::Tensor;

use crate::{Error, network::OUTPUT, window::FEATURES};

/// Numbers of a cell: the features, and whether the signal is known.
pub(crate) const NUMBERS: usize = FEATURES + 1;

/// A power of two between the numbers of a row would have all of them compete for the same few places of a processor's
/// cache.
const GAP: usize = 16;

/// Scaled features [inputs, [`NUMBERS`], rows and a gap]; all of a cell is 0 where the signal is not known.
#[derive(Debug, Clone)]
pub(crate) struct Cells {
    inputs: usize,
    rows: usize,
    /// Where the next number of the same row stands.
    stride: usize,
    numbers: Vec<f32>,
}

impl Cells {
    /// Of a batch with so many rows.
    pub(crate) fn new(inputs: usize, rows: usize) -> Self {
        let stride = rows + GAP;
        Self { inputs, rows, stride, numbers: vec![0.0; inputs * NUMBERS * stride] }
    }

    pub(crate) fn clear(&mut self) {
        self.numbers.fill(0.0);
    }

    fn of_input(&mut self, input: usize) -> &mut [f32] {
        let length = NUMBERS * self.stride;
        &mut self.numbers[input * length..(input + 1) * length]
    }

    /// Notes a known signal; what is unknown of its past is 0.
    pub(crate) fn put(&mut self, row: usize, input: usize, features: &[f32; FEATURES]) {
        debug_assert!(row < self.rows, "row {row} of {}", self.rows);
        let stride = self.stride;
        let known = std::iter::once(&1.0);
        for (numbers, number) in self.of_input(input).chunks_exact_mut(stride).zip(features.iter().chain(known)) {
            numbers[row] = if number.is_nan() { 0.0 } else { *number };
        }
    }

    /// Forgets a signal, in all rows.
    pub(crate) fn hide(&mut self, input: usize) {
        self.of_input(input).fill(0.0);
    }

    /// Of each row, one number of a signal.
    fn of(&self, input: usize, number: usize) -> &[f32] {
        &self.numbers[(input * NUMBERS + number) * self.stride..][..self.rows]
    }

    /// Of each row, the signal's value.
    pub(crate) fn values(&self, input: usize) -> &[f32] {
        self.of(input, 0)
    }

    /// Of each row, 1 where the signal is known and 0 where it is not.
    pub(crate) fn known(&self, input: usize) -> &[f32] {
        self.of(input, FEATURES)
    }

    pub(crate) fn tensor(&self) -> Result<Tensor, Error> {
        let shape = [self.inputs as i64, NUMBERS as i64, self.stride as i64];
        Ok(Tensor::f_from_slice(&self.numbers)?.f_view(shape)?.f_narrow(2, 0, self.rows as i64)?)
    }
}

/// What a network answers: [inputs, [`OUTPUT`], rows]. Spreads, or their logarithms, as whoever asked wants them.
#[derive(Debug)]
pub(crate) struct Answers {
    rows: usize,
    numbers: Vec<f32>,
}

impl Answers {
    pub(crate) fn read(out: &Tensor) -> Result<Self, Error> {
        let out = out.f_to_kind(tch::Kind::Float)?.f_contiguous()?;
        let count = out.numel();
        let mut numbers = vec![0_f32; count];
        out.f_copy_data(&mut numbers, count)?;
        Ok(Self { rows: out.size()[2] as usize, numbers })
    }

    /// Of head A and of head B, the expectation and its spread or the logarithm of that.
    pub(crate) fn of(&self, row: usize, input: usize) -> [f32; OUTPUT] {
        std::array::from_fn(|number| self.numbers[(input * OUTPUT + number) * self.rows + row])
    }

    /// Whether the rows of another from a place on, as many as there are here, are the same to the bit.
    pub(crate) fn is_at(&self, from: usize, other: &Self, inputs: usize) -> bool {
        (0..inputs * OUTPUT).all(|number| {
            let (own, others) = (&self.numbers[number * self.rows..], &other.numbers[number * other.rows + from..]);
            own.iter().zip(others).take(self.rows).all(|(own, other)| own.to_bits() == other.to_bits())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_holds_what_is_known_of_a_signal() {
        let mut cells = Cells::new(2, 32);
        let mut features = [0.5; FEATURES];
        features[2] = f32::NAN;
        cells.put(3, 1, &features);
        assert_eq!((cells.values(1)[3], cells.known(1)[3], cells.known(1)[4]), (0.5, 1.0, 0.0));
        assert_eq!(cells.of(1, 2)[3], 0.0, "what is unknown of the past");
        assert_eq!(cells.tensor().unwrap().size(), [2, NUMBERS as i64, 32]);
        cells.hide(0);
        assert_eq!(cells.known(1)[3], 1.0);
        cells.hide(1);
        assert!(cells.numbers.iter().all(|number| *number == 0.0));
    }

    #[test]
    fn rows_of_a_small_batch_are_held_against_those_of_a_large_one_bit_by_bit() {
        let answers = |rows: usize, number: &dyn Fn(usize, usize) -> f32| Answers {
            rows,
            numbers: (0..2 * OUTPUT).flat_map(|at| (0..rows).map(move |row| number(at, row))).collect(),
        };
        let number = |at: usize, row: usize| (at * 100 + row) as f32;
        let large = answers(8, &number);
        let small = |number: &dyn Fn(usize, usize) -> f32| answers(4, &|at, row| number(at, row + 4));
        assert!(small(&number).is_at(4, &large, 2) && !small(&number).is_at(0, &large, 2));
        let off = small(&|at, row| if (at, row) == (7, 7) { number(at, row).next_up() } else { number(at, row) });
        assert!(!off.is_at(4, &large, 2), "one bit of the last number");
    }
}

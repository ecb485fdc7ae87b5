//! The artefact: one safetensors file with the card in its metadata. Reading it needs no libtorch.

use std::collections::BTreeMap;

use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use telemetry::PayloadHash;

use crate::{Card, Error, layout::Layout, track, window};

/// Form of the artefact that this code writes and reads.
pub const FORM: u32 = 3;
const CARD: &str = "card";

/// What every card says, whatever its form.
#[derive(serde::Deserialize)]
struct Formed {
    form: u32,
}

/// A tensor, as little-endian bytes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

#[cfg(feature = "torch")]
impl safetensors::View for &Tensor {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        std::borrow::Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Card and tensors of an artefact.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    /// The card.
    pub card: Card,
    pub(crate) tensors: BTreeMap<String, Tensor>,
}

#[cfg(feature = "torch")]
impl Artifact {
    pub(crate) fn new(card: Card) -> Self {
        Self { card, tensors: BTreeMap::new() }
    }

    pub(crate) fn put_f32(&mut self, name: &str, shape: &[usize], numbers: &[f32]) {
        let bytes = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.tensors.insert(name.to_owned(), Tensor { dtype: Dtype::F32, shape: shape.to_vec(), bytes });
    }

    pub(crate) fn put_i16(&mut self, name: &str, shape: &[usize], numbers: &[i16]) {
        let bytes = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.tensors.insert(name.to_owned(), Tensor { dtype: Dtype::I16, shape: shape.to_vec(), bytes });
    }

    pub(crate) fn put_u8(&mut self, name: &str, shape: &[usize], numbers: Vec<u8>) {
        self.tensors.insert(name.to_owned(), Tensor { dtype: Dtype::U8, shape: shape.to_vec(), bytes: numbers });
    }

    pub(crate) fn put_u64(&mut self, name: &str, numbers: &[u64]) {
        let bytes = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.tensors.insert(name.to_owned(), Tensor { dtype: Dtype::U64, shape: vec![numbers.len()], bytes });
    }

    fn get<const N: usize>(
        &self,
        name: &str,
        dtype: Dtype,
        shape: Option<&[usize]>,
    ) -> Result<impl Iterator<Item = [u8; N]>, Error> {
        let tensor = self.tensors.get(name).ok_or_else(|| Error::Malformed(format!("no tensor {name}")))?;
        if tensor.dtype != dtype || shape.is_some_and(|shape| tensor.shape != shape) {
            let (found, wanted) = (&tensor.shape, shape.unwrap_or(&tensor.shape));
            let text = format!("tensor {name} is {:?} {found:?} instead of {dtype:?} {wanted:?}", tensor.dtype);
            return Err(Error::Malformed(text));
        }
        Ok(tensor.bytes.as_chunks::<N>().0.iter().copied())
    }

    pub(crate) fn f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        Ok(self.get(name, Dtype::F32, Some(shape))?.map(f32::from_le_bytes).collect())
    }

    pub(crate) fn i16(&self, name: &str, shape: &[usize]) -> Result<Vec<i16>, Error> {
        Ok(self.get(name, Dtype::I16, Some(shape))?.map(i16::from_le_bytes).collect())
    }

    pub(crate) fn u8(&self, name: &str, shape: &[usize]) -> Result<Vec<u8>, Error> {
        Ok(self.get(name, Dtype::U8, Some(shape))?.map(|[byte]| byte).collect())
    }

    pub(crate) fn u64(&self, name: &str) -> Result<Vec<u64>, Error> {
        Ok(self.get(name, Dtype::U64, None)?.map(u64::from_le_bytes).collect())
    }

    /// The bytes; the same content gives the same bytes.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let card = Card { tensors_sha256: Some(sum(&self.tensors)), ..self.card.clone() };
        let card = serde_json::to_string(&card).map_err(|error| Error::Malformed(error.to_string()))?;
        // One entry only: the order of several would be random.
        let metadata = std::collections::HashMap::from([(CARD.to_owned(), card)]);
        safetensors::serialize(self.tensors.iter(), Some(metadata)).map_err(|error| Error::Malformed(error.to_string()))
    }
}

impl Artifact {
    /// Reads card and tensors; refuses what was made for other features, and tensors that are not those of the card.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Form`] or [`Error::Schema`].
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let malformed = |error: &dyn std::fmt::Display| Error::Malformed(error.to_string());
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| malformed(&error))?;
        let card = metadata.metadata().as_ref().and_then(|entries| entries.get(CARD));
        let card = card.ok_or_else(|| Error::Malformed("no card".into()))?;
        // First: the card of another form may have other fields.
        let Formed { form } = serde_json::from_str(card).map_err(|error| malformed(&error))?;
        if form != FORM {
            return Err(Error::Form { artefact: form, program: FORM });
        }
        let card: Card = serde_json::from_str(card).map_err(|error| malformed(&error))?;
        let program = schema_id(&Layout::read(&card.layout)?);
        if card.schema != program {
            return Err(Error::Schema { artefact: card.schema, program });
        }
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| malformed(&error))?.tensors();
        let tensors = tensors.into_iter().map(|(name, view)| {
            let tensor = Tensor { dtype: view.dtype(), shape: view.shape().to_vec(), bytes: view.data().to_vec() };
            (name, tensor)
        });
        let tensors = tensors.collect();
        if card.tensors_sha256.as_ref().is_some_and(|written| *written != sum(&tensors)) {
            return Err(Error::Malformed("its tensors are not those that it was saved with: a damaged file".into()));
        }
        Ok(Self { card, tensors })
    }

    /// The version that these bytes are published under.
    pub fn version(&self, bytes: &[u8]) -> String {
        let hash = hash(bytes);
        format!("{}-{}-{}", self.card.detector, self.card.to_time, &hash[..8])
    }
}

/// The identity of the features that this program computes for a layout.
pub(crate) fn schema_id(layout: &Layout) -> String {
    let numbers = [window::FINE, window::COARSE, window::HORIZON, track::HORIZON];
    let text = format!("{} {numbers:?} {} {}", layout.id(), window::FEATURES, track::STATISTICS);
    PayloadHash::of(text.as_bytes()).to_string()
}

/// SHA-256 of bytes, hexadecimal: the artefact's address in the registry.
pub fn hash(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// SHA-256 over all tensors by name, each a line with name, type and shape before its bytes. models/python computes the
/// same.
fn sum(tensors: &BTreeMap<String, Tensor>) -> String {
    let mut sum = Sha256::new();
    for (name, Tensor { dtype, shape, bytes }) in tensors {
        let shape: Vec<_> = shape.iter().map(ToString::to_string).collect();
        sum.update(format!("{name} {dtype:?} {}\n", shape.join(",")));
        sum.update(bytes);
    }
    hexadecimal(&sum.finalize())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

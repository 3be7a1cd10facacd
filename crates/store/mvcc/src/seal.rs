//! What values look like on disk. In memory they are plain; this is the only way out and in.

use bytes::Bytes;

/// Turns values into what is written, and back. `place` is the value's key.
pub trait Seal: std::fmt::Debug + Send + Sync + 'static {
    /// What is written of a value; `None`: the value itself.
    ///
    /// # Errors
    /// Says why it cannot be written; the transaction is then refused.
    fn seal(&self, place: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, String>;

    /// What was written. Called only while a store is opened.
    fn open(&self, place: &[u8], stored: Bytes) -> Opened;
}

/// What became of stored bytes.
#[derive(Debug)]
pub enum Opened {
    /// The value.
    Fresh(Bytes),
    /// The value, which would be written otherwise today.
    Stale(Bytes),
    /// It cannot be read. The bytes are kept as they are, and shown to nobody.
    Unreadable {
        /// What was written.
        stored: Bytes,
        /// Why it cannot be read.
        why: String,
    },
}

/// Values are written as they are.
#[derive(Debug)]
pub(crate) struct Plain;

impl Seal for Plain {
    fn seal(&self, _: &[u8], _: &[u8]) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }

    fn open(&self, _: &[u8], stored: Bytes) -> Opened {
        if stored.starts_with(ENCRYPTED) {
            let why = "identity transformer tried to read encrypted data".to_owned();
            return Opened::Unreadable { stored, why };
        }
        Opened::Fresh(stored)
    }
}

/// What everything begins with that was not written plain.
const ENCRYPTED: &[u8] = b"k8s:enc:";

/// Why a value is not there to be read, carried in place of the object that a put would carry.
#[derive(Clone, Debug)]
pub struct Unreadable(pub String);

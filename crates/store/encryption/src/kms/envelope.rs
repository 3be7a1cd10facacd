//! The envelope: a value encrypted under a seed, with the seed as the plugin encrypted it.
//!
//! Each write derives a key of its own from the seed (HKDF expand over SHA-256, with 32 random bytes that stand before
//! the ciphertext), so a seed never wears out. Older servers wrote with the plugin's plaintext as the key itself; that
//! can still be read.

use hkdf::Hkdf;
use sha2::Sha256;

use super::plugin::Encrypted;
use super::proto::{self, Field, Writer};
use crate::provider::{Gcm, random};

/// Bytes of a seed, of what a key is derived with, and of the key.
pub(super) const SEED_BYTES: usize = 32;
/// The plugin's plaintext is a seed.
const SEED: u64 = 1;
/// Most bytes of an encrypted seed, and of a key's id.
const SMALL_BYTES_MAX: usize = 1 << 10;
/// Most bytes of annotations.
const ANNOTATIONS_BYTES_MAX: usize = 32 << 10;

/// What a value is encrypted under.
pub(super) enum Source {
    /// Keys are derived from it.
    Seed(Vec<u8>),
    /// It is the key.
    Key(Gcm),
}

impl Source {
    /// Of the plugin's plaintext.
    pub(super) fn new(plaintext: Vec<u8>, is_seed: bool) -> Result<Self, String> {
        match is_seed {
            true if plaintext.len() < SEED_BYTES => {
                Err(format!("invalid seed length {} used for key generation", plaintext.len()))
            }
            true => Ok(Source::Seed(plaintext)),
            false => Gcm::new(&plaintext).map(Source::Key),
        }
    }

    fn open(&self, place: &[u8], data: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Source::Key(gcm) => gcm.open(place, data),
            Source::Seed(seed) => {
                let short = "the stored data was shorter than the required size";
                let (info, sealed) = data.split_first_chunk::<SEED_BYTES>().ok_or(short)?;
                derived(seed, info)?.open(place, sealed)
            }
        }
    }
}

/// The key of one write.
fn derived(seed: &[u8], info: &[u8; SEED_BYTES]) -> Result<Gcm, String> {
    let kdf = Hkdf::<Sha256>::from_prk(seed).map_err(|error| error.to_string())?;
    let mut key = [0; SEED_BYTES];
    kdf.expand(info, &mut key).map_err(|error| error.to_string())?;
    Gcm::new(&key)
}

/// A value as it is written, taken apart.
pub(super) struct Envelope {
    data: Vec<u8>,
    pub(super) source: Encrypted,
    pub(super) is_seed: bool,
}

impl Envelope {
    /// Appends the envelope of a value under a seed.
    pub(super) fn seal(
        seed: &[u8],
        source: &Encrypted,
        place: &[u8],
        value: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let info = random::<SEED_BYTES>()?;
        let mut data = info.to_vec();
        derived(seed, &info)?.seal(place, value, &mut data)?;
        let mut writer = Writer(std::mem::take(out));
        writer.bytes(1, &data);
        writer.bytes(2, source.key_id.as_bytes());
        writer.bytes(3, &source.ciphertext);
        writer.map(4, &source.annotations);
        writer.number(5, SEED);
        *out = writer.0;
        Ok(())
    }

    /// Takes apart what was written.
    pub(super) fn parse(stored: &[u8]) -> Result<Self, String> {
        let malformed = || "proto: cannot parse invalid wire-format data".to_owned();
        let (mut data, mut source, mut kind) = (Vec::new(), Encrypted::default(), 0);
        for (number, field) in proto::fields(stored).ok_or_else(malformed)? {
            match (number, field) {
                (1, Field::Bytes(bytes)) => data = bytes.to_vec(),
                (2, Field::Bytes(bytes)) => {
                    source.key_id = String::from_utf8(bytes.to_vec()).map_err(|_| malformed())?
                }
                (3, Field::Bytes(bytes)) => source.ciphertext = bytes.to_vec(),
                (4, Field::Bytes(bytes)) => {
                    source.annotations.extend([proto::entry(bytes).ok_or_else(malformed)?]);
                }
                (5, Field::Number(number)) => kind = number,
                _ => {}
            }
        }
        if kind > SEED {
            return Err(format!("unknown encryptedDEKSourceType: {kind}"));
        }
        if data.is_empty() {
            return Err("encrypted data is empty".to_owned());
        }
        check(&source)?;
        Ok(Self { data, source, is_seed: kind == SEED })
    }

    /// The value.
    pub(super) fn open(&self, source: &Source, place: &[u8]) -> Result<Vec<u8>, String> {
        source.open(place, &self.data)
    }
}

/// Whether a plugin's answer is within upstream's bounds.
pub(super) fn check(source: &Encrypted) -> Result<(), String> {
    if source.ciphertext.is_empty() {
        return Err("failed to validate encrypted DEK source: encrypted DEK source is empty".to_owned());
    }
    if source.ciphertext.len() > SMALL_BYTES_MAX {
        return Err(format!(
            "failed to validate encrypted DEK source: encrypted DEK source is {} bytes, which exceeds the max size of {SMALL_BYTES_MAX}",
            source.ciphertext.len()
        ));
    }
    check_key_id(&source.key_id).map_err(|why| format!("failed to validate key id: {why}"))?;
    let annotations: usize = source.annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if annotations > ANNOTATIONS_BYTES_MAX {
        return Err(format!(
            "failed to validate annotations: total size of annotations is {annotations}, which exceeds the max size of {ANNOTATIONS_BYTES_MAX}"
        ));
    }
    match source.annotations.keys().find(|key| !key.contains('.')) {
        Some(key) => Err(format!(
            "failed to validate annotations: {key:?} should be a domain with at least two segments separated by dots"
        )),
        None => Ok(()),
    }
}

pub(super) fn check_key_id(key_id: &str) -> Result<(), String> {
    if key_id.is_empty() {
        return Err("keyID is empty".to_owned());
    }
    if key_id.len() > SMALL_BYTES_MAX {
        return Err(format!(
            "keyID is {} bytes, which exceeds the max size of {SMALL_BYTES_MAX}",
            key_id.len()
        ));
    }
    Ok(())
}

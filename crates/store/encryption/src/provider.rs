//! One provider: how bytes are encrypted and decrypted with keys that the file holds.
//!
//! The place of a value (its key in the store) is authenticated where the cipher can do that, so that nobody who can
//! write to the disk can move one value to another's place.

use std::sync::atomic::{AtomicU64, Ordering};

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm};
use crypto_secretbox::XSalsa20Poly1305;
use ring::rand::{SecureRandom, SystemRandom};

use crate::configuration::{Key, Keys};
use crate::kms::KmsProvider;

/// What every encrypted value begins with.
pub(crate) const ENCRYPTED: &[u8] = b"k8s:enc:";

const SHORT: &str = "the stored data was shorter than the required size";
const NONCE_BYTES: usize = 12;
const BLOCK_BYTES: usize = 16;
const SECRETBOX_NONCE_BYTES: usize = 24;
/// Writes after which a key of aesgcm should be replaced: its nonces are random, and must not come twice.
const GCM_WRITES_MAX: u64 = 200_000;

type Aes192Gcm = AesGcm<aes::Aes192, U12>;

/// Random bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "unable to read sufficient random bytes".to_owned())?;
    Ok(bytes)
}

/// AES-GCM with a random nonce before the ciphertext.
pub(crate) enum Gcm {
    Aes128(Box<Aes128Gcm>),
    Aes192(Box<Aes192Gcm>),
    Aes256(Box<Aes256Gcm>),
}

impl Gcm {
    /// With a key of 16, 24 or 32 bytes.
    pub(crate) fn new(key: &[u8]) -> Result<Self, String> {
        let wrong = |_| format!("crypto/aes: invalid key size {}", key.len());
        match key.len() {
            16 => Aes128Gcm::new_from_slice(key).map(|gcm| Gcm::Aes128(Box::new(gcm))).map_err(wrong),
            24 => Aes192Gcm::new_from_slice(key).map(|gcm| Gcm::Aes192(Box::new(gcm))).map_err(wrong),
            _ => Aes256Gcm::new_from_slice(key).map(|gcm| Gcm::Aes256(Box::new(gcm))).map_err(wrong),
        }
    }

    pub(crate) fn seal(&self, place: &[u8], value: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let nonce = random::<NONCE_BYTES>()?;
        let payload = Payload { msg: value, aad: place };
        let sealed = match self {
            Gcm::Aes128(gcm) => gcm.encrypt((&nonce).into(), payload),
            Gcm::Aes192(gcm) => gcm.encrypt((&nonce).into(), payload),
            Gcm::Aes256(gcm) => gcm.encrypt((&nonce).into(), payload),
        };
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed.map_err(|_| "the value is too long to be encrypted".to_owned())?);
        Ok(())
    }

    pub(crate) fn open(&self, place: &[u8], stored: &[u8]) -> Result<Vec<u8>, String> {
        let (nonce, sealed) = stored.split_first_chunk::<NONCE_BYTES>().ok_or(SHORT)?;
        let payload = Payload { msg: sealed, aad: place };
        let opened = match self {
            Gcm::Aes128(gcm) => gcm.decrypt(nonce.into(), payload),
            Gcm::Aes192(gcm) => gcm.decrypt(nonce.into(), payload),
            Gcm::Aes256(gcm) => gcm.decrypt(nonce.into(), payload),
        };
        opened.map_err(|_| "cipher: message authentication failed".to_owned())
    }
}

/// AES-CBC with PKCS #7 padding, a random first block before the ciphertext. It authenticates nothing.
struct Cbc(Vec<u8>);

impl Cbc {
    fn seal(&self, value: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let iv = random::<BLOCK_BYTES>()?;
        macro_rules! encrypt {
            ($cipher:ty) => {
                cbc::Encryptor::<$cipher>::new_from_slices(&self.0, &iv)
                    .map_err(|error| error.to_string())?
                    .encrypt_padded_vec_mut::<Pkcs7>(value)
            };
        }
        out.extend_from_slice(&iv);
        out.extend_from_slice(&match self.0.len() {
            16 => encrypt!(aes::Aes128),
            24 => encrypt!(aes::Aes192),
            _ => encrypt!(aes::Aes256),
        });
        Ok(())
    }

    fn open(&self, stored: &[u8]) -> Result<Vec<u8>, String> {
        let (iv, sealed) = stored.split_first_chunk::<BLOCK_BYTES>().ok_or(SHORT)?;
        if sealed.len() % BLOCK_BYTES != 0 {
            return Err("the stored data is not a multiple of the block size".to_owned());
        }
        if sealed.is_empty() {
            return Err("invalid PKCS7 data (empty or not padded)".to_owned());
        }
        macro_rules! decrypt {
            ($cipher:ty) => {
                cbc::Decryptor::<$cipher>::new_from_slices(&self.0, iv)
                    .map_err(|error| error.to_string())?
                    .decrypt_padded_vec_mut::<Pkcs7>(sealed)
            };
        }
        let opened = match self.0.len() {
            16 => decrypt!(aes::Aes128),
            24 => decrypt!(aes::Aes192),
            _ => decrypt!(aes::Aes256),
        };
        opened.map_err(|_| "invalid padding on input".to_owned())
    }
}

/// NaCl's secretbox, the nonce before the box.
struct Secretbox(XSalsa20Poly1305);

impl Secretbox {
    fn seal(&self, value: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let nonce = random::<SECRETBOX_NONCE_BYTES>()?;
        let sealed = self.0.encrypt((&nonce).into(), value);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed.map_err(|_| "the value is too long to be encrypted".to_owned())?);
        Ok(())
    }

    fn open(&self, stored: &[u8]) -> Result<Vec<u8>, String> {
        let (nonce, sealed) = stored.split_first_chunk::<SECRETBOX_NONCE_BYTES>().ok_or(SHORT)?;
        // The words are upstream's, whatever was wrong.
        let failed = |_| "output array was not large enough for encryption".to_owned();
        self.0.decrypt(nonce.into(), sealed).map_err(failed)
    }
}

enum Cipher {
    Gcm(Gcm, AtomicU64),
    Cbc(Cbc),
    Secretbox(Box<Secretbox>),
}

/// A key by its name.
struct Named {
    /// `name:`
    prefix: Vec<u8>,
    cipher: Cipher,
}

impl Named {
    fn open(&self, place: &[u8], stored: &[u8]) -> Result<Vec<u8>, String> {
        match &self.cipher {
            Cipher::Gcm(gcm, _) => gcm.open(place, stored),
            Cipher::Cbc(cbc) => cbc.open(stored),
            Cipher::Secretbox(secretbox) => secretbox.open(stored),
        }
    }
}

/// A provider that the file lists.
pub(crate) enum Provider {
    /// Values as they are.
    Identity,
    /// Keys that are in the file. The first is written with.
    Keys(KeySet),
    /// A key that a plugin keeps.
    Kms(KmsProvider),
}

pub(crate) struct KeySet {
    prefix: &'static str,
    no_match: &'static str,
    keys: Vec<Named>,
}

impl KeySet {
    fn of(
        prefix: &'static str,
        no_match: &'static str,
        keys: &Keys,
        cipher: impl Fn(&[u8]) -> Result<Cipher, String>,
    ) -> Result<Provider, String> {
        let named = |key: &Key| {
            let bytes = key.bytes().ok_or("secrets must be base64 encoded")?;
            Ok::<_, String>(Named { prefix: format!("{}:", key.name).into_bytes(), cipher: cipher(&bytes)? })
        };
        let keys = keys.keys.iter().map(named).collect::<Result<_, _>>()?;
        Ok(Provider::Keys(KeySet { prefix, no_match, keys }))
    }

    pub(crate) fn gcm(keys: &Keys) -> Result<Provider, String> {
        let cipher = |key: &[u8]| Ok(Cipher::Gcm(Gcm::new(key)?, AtomicU64::new(0)));
        let no_match = "no matching key was found for the provided AES transformer";
        Self::of("k8s:enc:aesgcm:v1:", no_match, keys, cipher)
    }

    pub(crate) fn cbc(keys: &Keys) -> Result<Provider, String> {
        let no_match = "no matching key was found for the provided AES transformer";
        Self::of("k8s:enc:aescbc:v1:", no_match, keys, |key| Ok(Cipher::Cbc(Cbc(key.to_vec()))))
    }

    pub(crate) fn secretbox(keys: &Keys) -> Result<Provider, String> {
        let cipher = |key: &[u8]| {
            let secretbox = XSalsa20Poly1305::new_from_slice(key).map_err(|error| error.to_string())?;
            Ok(Cipher::Secretbox(Box::new(Secretbox(secretbox))))
        };
        let no_match = "no matching key was found for the provided Secretbox transformer";
        Self::of("k8s:enc:secretbox:v1:", no_match, keys, cipher)
    }

    fn seal(&self, place: &[u8], value: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let Some(first) = self.keys.first() else { return Err(self.no_match.to_owned()) };
        out.extend_from_slice(self.prefix.as_bytes());
        out.extend_from_slice(&first.prefix);
        match &first.cipher {
            Cipher::Gcm(gcm, writes) => {
                if writes.fetch_add(1, Ordering::Relaxed) == GCM_WRITES_MAX {
                    let key = String::from_utf8_lossy(&first.prefix).into_owned();
                    tracing::warn!(
                        key,
                        "an aesgcm key has been used for {GCM_WRITES_MAX} writes and should be rotated"
                    );
                }
                gcm.seal(place, value, out)
            }
            Cipher::Cbc(cbc) => cbc.seal(value, out),
            Cipher::Secretbox(secretbox) => secretbox.seal(value, out),
        }
    }

    /// The value, and whether another key than the first was needed.
    fn open(&self, place: &[u8], stored: &[u8]) -> Result<(Vec<u8>, bool), String> {
        let mut problems = Vec::new();
        for (index, key) in self.keys.iter().enumerate() {
            let Some(sealed) = stored.strip_prefix(key.prefix.as_slice()) else { continue };
            match key.open(place, sealed) {
                Ok(value) => return Ok((value, index != 0)),
                Err(why) => problems.push(why),
            }
        }
        Err(joined(problems).unwrap_or_else(|| self.no_match.to_owned()))
    }
}

/// Problems as one text, each once.
pub(crate) fn joined(mut problems: Vec<String>) -> Option<String> {
    problems.dedup();
    match problems.len() {
        0 => None,
        1 => problems.pop(),
        _ => Some(format!("[{}]", problems.join(", "))),
    }
}

impl Provider {
    /// Appends the value as it is written.
    pub(crate) fn seal(&self, place: &[u8], value: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Provider::Identity => {
                out.extend_from_slice(value);
                Ok(())
            }
            Provider::Keys(keys) => keys.seal(place, value, out),
            Provider::Kms(kms) => kms.seal(place, value, out),
        }
    }

    /// What was written, if this provider did it: the value, and whether it would write it otherwise today.
    pub(crate) fn open(&self, place: &[u8], stored: &[u8]) -> Option<Result<(Vec<u8>, bool), String>> {
        match self {
            // What is encrypted may still be another provider's.
            Provider::Identity => (!stored.starts_with(ENCRYPTED)).then(|| Ok((stored.to_vec(), false))),
            Provider::Keys(keys) => {
                stored.strip_prefix(keys.prefix.as_bytes()).map(|sealed| keys.open(place, sealed))
            }
            Provider::Kms(kms) => stored.strip_prefix(kms.prefix()).map(|sealed| kms.open(place, sealed)),
        }
    }
}

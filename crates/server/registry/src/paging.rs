//! Continue tokens: where the next page of a list begins, and at which revision.
//!
//! The token is base64url of `{"v":"meta.k8s.io/v1","rv":17,"start":"default/web\u0000"}`, upstream's own form, so that
//! a client may go on at another server of the same store.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use meta::Status;
use serde_json::json;

use crate::errors;

/// Decodes as Go does: what is left over in the last letter is ignored.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
);

/// Where a page starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Revision of the whole list; -1 for a continuation at the newest state.
    pub revision: i64,
    /// First key, relative to the collection's prefix.
    pub start: String,
}

impl Page {
    /// The page after the one that ended with `last`, a key relative to the collection's prefix.
    pub fn after(revision: i64, last: &str) -> Self {
        Page { revision, start: format!("{last}\0") }
    }

    /// The token.
    pub fn encode(&self) -> String {
        let body = json!({ "v": "meta.k8s.io/v1", "rv": self.revision, "start": self.start });
        URL_SAFE_NO_PAD.encode(body.to_string())
    }

    /// Reads a token.
    pub fn decode(token: &str) -> Result<Self, Status> {
        let refuse = |why: String| errors::bad_request(format!("invalid continue token: {why}"));
        let bytes = LENIENT.decode(token.trim_end_matches('=')).map_err(|e| {
            use base64::DecodeError::{InvalidByte, InvalidLastSymbol, InvalidLength, InvalidPadding};
            let at = match e {
                InvalidByte(at, _) | InvalidLastSymbol(at, _) => at,
                // Go tells where the last whole group of letters ended.
                InvalidLength(_) | InvalidPadding => token.trim_end_matches('=').len() / 4 * 4,
            };
            refuse(format!("continue key is not valid: illegal base64 data at input byte {at}"))
        })?;
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|_| {
            let text = String::from_utf8_lossy(&bytes);
            let bad = text.chars().next().unwrap_or('\0');
            let shown = if bad.is_control() || bad == char::REPLACEMENT_CHARACTER {
                format!("'\\u{:04x}'", bytes.first().copied().unwrap_or_default())
            } else {
                format!("'{bad}'")
            };
            refuse(format!(
                "continue key is not valid: invalid character {shown} looking for beginning of value"
            ))
        })?;
        if value["v"] != "meta.k8s.io/v1" {
            let found = value["v"].as_str().unwrap_or_default();
            return Err(refuse(format!(
                "continue key is not valid: server does not recognize this encoded version {found:?}"
            )));
        }
        let revision = value["rv"].as_i64().unwrap_or_default();
        let start = value["start"].as_str().unwrap_or_default().to_owned();
        if revision == 0 {
            return Err(refuse(
                "continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)"
                    .into(),
            ));
        }
        if start.is_empty() {
            return Err(refuse(
                "continue key is not valid: encoded start key empty (version meta.k8s.io/v1)".into(),
            ));
        }
        if start.split(['/', '\0']).any(|part| part == "..") || start.starts_with('/') {
            return Err(refuse(format!("continue key is not valid: {start}")));
        }
        Ok(Page { revision, start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        let page = Page::after(17, "default/web");
        assert_eq!(Page::decode(&page.encode()).unwrap(), page);
        assert_eq!(
            Page::decode("garbage").unwrap_err().message,
            "invalid continue token: continue key is not valid: invalid character '\\u0081' looking for beginning of value"
        );
        for hostile in ["", "e30", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MX0"] {
            assert!(Page::decode(hostile).is_err(), "{hostile}");
        }
    }
}

//! Paths in JSON: text for people, and the bytes beside it where the text would lie.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// A path as JSON has it. Flattened into the object it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JsonPath {
    /// The path, lossy where it is not UTF-8.
    #[serde(default)]
    pub path: String,
    /// Its bytes in standard base64, where it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<String>,
}

impl From<&[u8]> for JsonPath {
    fn from(bytes: &[u8]) -> Self {
        match str::from_utf8(bytes) {
            Ok(text) => Self { path: text.to_owned(), path_base64: None },
            Err(_) => {
                Self { path: String::from_utf8_lossy(bytes).into_owned(), path_base64: Some(STANDARD.encode(bytes)) }
            }
        }
    }
}

impl JsonPath {
    /// The bytes.
    ///
    /// # Errors
    /// A sentence for people, if `path_base64` is not base64.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        match &self.path_base64 {
            None => Ok(self.path.clone().into_bytes()),
            Some(text) => STANDARD.decode(text).map_err(|e| format!("path_base64 is not base64: {e}")),
        }
    }

    /// For a terminal: control characters, which could move its cursor, are escaped.
    pub fn display(&self) -> String {
        printable(&self.path)
    }
}

/// `text` with control characters escaped, so that a name made elsewhere cannot steer a terminal.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_comes_back_as_it_was() {
        let check = |bytes: &[u8], plain: bool| {
            let json = JsonPath::from(bytes);
            assert_eq!(json.path_base64.is_none(), plain, "{bytes:?}");
            assert_eq!(json.to_bytes().as_deref(), Ok(bytes));
        };
        check(b"a/b c", true);
        check("ä\n".as_bytes(), true);
        check(b"\xff/\xfe", false);
    }

    #[test]
    fn what_is_no_base64_is_an_error_and_not_another_path() {
        let wrong = JsonPath { path: "a".into(), path_base64: Some("~".into()) };
        assert!(wrong.to_bytes().is_err());
    }

    #[test]
    fn names_cannot_steer_a_terminal() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
    }
}

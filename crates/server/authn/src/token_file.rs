//! The static token file: CSV lines of `token,user,uid` and, optionally quoted, `"group1,group2"`.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::user::{AUTHENTICATED, User};

/// Why a token file was refused. The file must be corrected; retrying does not help.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenFileError {
    /// A line has fewer than three columns.
    #[error(
        "token file line {line}: must have at least 3 columns (token, user name, user uid), found {found}"
    )]
    Columns {
        /// Line number, from 1.
        line: usize,
        /// Columns found.
        found: usize,
    },
    /// A line names no user.
    #[error("token file line {line}: the user name is empty")]
    NoUser {
        /// Line number, from 1.
        line: usize,
    },
}

/// Tokens by their SHA-256, so that a look-up leaks nothing through its timing.
#[derive(Debug, Default)]
pub struct TokenFile {
    users: HashMap<[u8; 32], Arc<User>>,
}

impl TokenFile {
    /// Reads the text of a token file. Lines without a token are skipped, as upstream does.
    pub fn parse(text: &str) -> Result<Self, TokenFileError> {
        let mut users = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let columns = split_csv(line);
            if columns.len() < 3 {
                return Err(TokenFileError::Columns { line: index + 1, found: columns.len() });
            }
            let (token, name) = (columns[0].trim(), columns[1].trim());
            if token.is_empty() {
                continue;
            }
            if name.is_empty() {
                return Err(TokenFileError::NoUser { line: index + 1 });
            }
            let mut user = User::new(name, &[]);
            user.uid = columns[2].trim().into();
            if let Some(groups) = columns.get(3) {
                user.groups =
                    groups.split(',').map(str::trim).filter(|g| !g.is_empty()).map(Into::into).collect();
            }
            if !user.in_group(AUTHENTICATED) {
                user.groups.push(AUTHENTICATED.into());
            }
            users.insert(Sha256::digest(token).into(), Arc::new(user));
        }
        Ok(TokenFile { users })
    }

    /// The user whom `token` stands for.
    pub fn find(&self, token: &str) -> Option<Arc<User>> {
        if self.users.is_empty() {
            return None;
        }
        let digest: [u8; 32] = Sha256::digest(token).into();
        self.users.get(&digest).cloned()
    }
}

/// Splits one CSV line; a column in double quotes may hold commas, and `""` inside it is one quote.
fn split_csv(line: &str) -> Vec<String> {
    let mut columns = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                columns.last_mut().expect("there is always a column").push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => columns.push(String::new()),
            c => columns.last_mut().expect("there is always a column").push(c),
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_groups_in_quotes() {
        let file = TokenFile::parse("t0k,admin,1,\"system:masters,dev\"\n\n# note\nx,bob,2\n").unwrap();
        let admin = file.find("t0k").unwrap();
        assert_eq!(admin.groups, ["system:masters", "dev", AUTHENTICATED].map(meta::Str::from).to_vec());
        assert_eq!(file.find("x").unwrap().name, "bob");
        assert!(file.find("y").is_none());
    }

    #[test]
    fn refuses_short_lines() {
        assert_eq!(TokenFile::parse("a,b").unwrap_err(), TokenFileError::Columns { line: 1, found: 2 });
        assert_eq!(TokenFile::parse("a,,1").unwrap_err(), TokenFileError::NoUser { line: 1 });
    }
}

//! The token of a table: the identity of its newest append.

use std::collections::HashMap;

use uuid::Uuid;

/// Property of the table that holds the token. A property outlives its snapshot.
pub const TOKEN: &str = "hookweir.token";

/// Identity of the newest append of a table. Only appends of a writer change it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token(Option<Uuid>);

impl Token {
    /// Returns a token that no table has yet.
    pub fn fresh() -> Self {
        Self(Some(Uuid::now_v7()))
    }

    /// Returns the token of a table with these `properties`.
    pub fn of(properties: &HashMap<String, String>) -> Self {
        Self(
            properties
                .get(TOKEN)
                .and_then(|text| Uuid::try_parse(text).ok()),
        )
    }

    /// Returns the value of the property.
    pub fn to_text(self) -> String {
        self.0.unwrap_or_default().hyphenated().to_string()
    }
}

/// State of a table that was read after a commit whose answer is unknown, or was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// The table has the batch.
    Committed,
    /// The table has no append since the ids were looked up. The same files may be committed again.
    Unchanged,
    /// Another append was committed. Its ids must be read before another attempt.
    Raced,
}

/// Returns the standing of a batch, by the token `now` in the table, the token `checked` under which its
/// ids were found absent, and its `own` token.
pub fn standing(now: Token, checked: Token, own: Token) -> Standing {
    if now == own {
        Standing::Committed
    } else if now == checked {
        Standing::Unchanged
    } else {
        Standing::Raced
    }
}

//! JSON pointers (RFC 6901), parsed once.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

/// Longest pointer, in steps: a walk recurses along it.
const MAX_STEPS: usize = 32;

/// JSON pointer (RFC 6901), such as `/data/object/id`. The step `*` is every element of an array.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct JsonPointer(Vec<PointerStep>);

/// Step of a pointer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PointerStep {
    /// Every element of an array.
    Each,
    /// Member of an object, or element of an array if `index` is given.
    Key {
        name: Box<str>,
        index: Option<usize>,
    },
}

impl PointerStep {
    fn key(name: &str) -> Self {
        Self::Key {
            index: name.parse().ok(),
            name: name.into(),
        }
    }
}

impl JsonPointer {
    /// Pointer to the whole document.
    pub(crate) const WHOLE: Self = Self(Vec::new());

    /// Returns the pointer to a member of the document.
    pub(crate) fn member(name: &str) -> Self {
        Self(vec![PointerStep::key(name)])
    }

    pub(crate) fn steps(&self) -> &[PointerStep] {
        &self.0
    }

    /// Returns `true` if the pointer is to the whole document.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns `true` if the pointer has a step to every element of an array.
    pub(crate) fn has_each(&self) -> bool {
        self.0.contains(&PointerStep::Each)
    }

    /// Returns the pointer to every element of the array.
    pub(crate) fn each(&self) -> Self {
        let mut steps = self.0.clone();
        steps.push(PointerStep::Each);
        Self(steps)
    }

    /// Returns the pointer to the first element of the array.
    pub(crate) fn first_element(&self) -> Self {
        self.join(&Self::member("0"))
    }

    /// Returns the pointer to `inner` inside of the value.
    pub(crate) fn join(&self, inner: &Self) -> Self {
        Self([&*self.0, &*inner.0].concat())
    }

    /// Returns the pointer with the first element in place of every element.
    pub(crate) fn of_first(&self) -> Self {
        let first = |step: &PointerStep| match step {
            PointerStep::Each => PointerStep::key("0"),
            key => key.clone(),
        };
        Self(self.0.iter().map(first).collect())
    }

    /// Returns the value in a document. None for a pointer to every element.
    pub(crate) fn get<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(document, |value, step| match step {
            PointerStep::Each => None,
            PointerStep::Key { name, index } => match value {
                Value::Object(members) => members.get(&**name),
                Value::Array(items) => items.get((*index)?),
                _ => None,
            },
        })
    }

    /// Returns the value in a document, to be changed; see [`Self::get`].
    pub(crate) fn get_mut<'v>(&self, document: &'v mut Value) -> Option<&'v mut Value> {
        self.0.iter().try_fold(document, |value, step| match step {
            PointerStep::Each => None,
            PointerStep::Key { name, index } => match value {
                Value::Object(members) => members.get_mut(&**name),
                Value::Array(items) => items.get_mut((*index)?),
                _ => None,
            },
        })
    }
}

impl TryFrom<String> for JsonPointer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::WHOLE);
        }
        let Some(steps) = text.strip_prefix('/') else {
            return Err(format!(
                "\"{text}\" is not a JSON pointer; write \"/\" in front of each key"
            ));
        };
        let step = |step: &str| match step {
            "*" => PointerStep::Each,
            key => PointerStep::key(&key.replace("~1", "/").replace("~0", "~")),
        };
        if steps
            .split('~')
            .skip(1)
            .any(|rest| !rest.starts_with(['0', '1']))
        {
            return Err(format!(
                "\"{text}\" has a \"~\" that is no escape; write \"~0\" for \"~\", and \"~1\" for \"/\" in a key"
            ));
        }
        let steps: Vec<_> = steps.split('/').map(step).collect();
        if steps.len() >= MAX_STEPS {
            return Err(format!("\"{text}\" has {MAX_STEPS} steps or more"));
        }
        Ok(Self(steps))
    }
}

impl fmt::Display for JsonPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.0 {
            match step {
                PointerStep::Each => f.write_str("/*")?,
                PointerStep::Key { name, .. } => {
                    write!(f, "/{}", name.replace('~', "~0").replace('/', "~1"))?;
                }
            }
        }
        Ok(())
    }
}

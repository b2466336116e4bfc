//! Path of keys in the table of a scheme.

use std::fmt;

/// Path of keys in the table of a scheme: `signature[0].from`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyPath(Vec<PathStep>);

/// Step of a [`KeyPath`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathStep {
    Key(String),
    Index(usize),
}

impl KeyPath {
    /// Returns the path of a key in the outermost table.
    pub(crate) fn of(key: &str) -> Self {
        Self::default().key(key)
    }

    /// Returns the path of a key in the table at this path.
    pub(crate) fn key(&self, key: &str) -> Self {
        self.step(PathStep::Key(key.to_owned()))
    }

    /// Returns the path of an element of the list at this path.
    pub(crate) fn index(&self, index: usize) -> Self {
        self.step(PathStep::Index(index))
    }

    fn step(&self, step: PathStep) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// Returns this path inside of the table or list at `step`.
    pub(crate) fn below(mut self, step: PathStep) -> Self {
        self.0.insert(0, step);
        self
    }

    pub(crate) fn steps(&self) -> &[PathStep] {
        &self.0
    }

    /// Returns the last key. None for the path of the outermost table.
    pub(crate) fn last_key(&self) -> Option<&str> {
        self.0.iter().rev().find_map(PathStep::as_key)
    }

    /// Returns `true` for the path of these keys.
    pub(crate) fn is(&self, keys: &[&str]) -> bool {
        let mut steps = self.0.iter();
        let mut is = |key: &&str| steps.next().and_then(PathStep::as_key) == Some(*key);
        keys.iter().all(&mut is) && steps.next().is_none()
    }
}

impl PathStep {
    fn as_key(&self) -> Option<&str> {
        match self {
            Self::Key(key) => Some(key),
            Self::Index(_) => None,
        }
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                PathStep::Key(key) if at == 0 => f.write_str(key)?,
                PathStep::Key(key) => write!(f, ".{key}")?,
                PathStep::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

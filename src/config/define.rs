//! Macros that define options once: field, name, kind, bounds, default and documentation in one place.
//!
//! The text above a field is its documentation in the code, in `config.toml` and in `docs/reference/configuration.md`.

use super::option::Describe;

/// An option as it is documented.
#[derive(Clone, Copy)]
pub struct Description {
    /// Name: `server.listen`, or that in a source.
    pub key: &'static str,
    /// Default as TOML; for an option of a source, an example.
    pub shown: &'static str,
    /// Documentation, as the compiler hands it over.
    pub(super) help: &'static str,
    pub(super) kind: &'static (dyn Describe + Sync),
}

impl Description {
    /// Returns the lines of the documentation.
    pub fn help(&self) -> impl Iterator<Item = &'static str> {
        self.help.trim_end().lines().map(str::trim)
    }

    /// Returns the section's name and the option's in it.
    pub fn parts(&self) -> (&'static str, &'static str) {
        self.key.split_once('.').unwrap_or(("", self.key))
    }

    /// Returns a sentence part on what the option takes.
    pub fn takes(&self) -> String {
        self.kind.takes()
    }

    /// Returns the only values of the option, if there are few, as they are written after `--set`.
    pub fn words(&self) -> Vec<&'static str> {
        self.kind.words()
    }
}

/// Options that belong together.
#[derive(Clone, Copy)]
pub struct Section {
    /// Documentation of the section.
    pub(super) about: &'static str,
    /// Options in the order in which they are shown.
    pub options: &'static [Description],
}

impl Section {
    /// Returns the lines of the documentation.
    pub fn about(&self) -> impl Iterator<Item = &'static str> {
        self.about.trim_end().lines().map(str::trim)
    }
}

/// Defines a section: its struct, its reader, and its documentation. `given` fields, and the field
/// `named`, are handed over when all options are read.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $(#[derive($derive:ident)])+
        pub struct $name:ident
        $(given { $(
            $(#[doc = $given_help:literal])+
            pub $given:ident: $given_type:ty;
        )+ })?
        $(named {
            $(#[doc = $name_help:literal])+
            pub $named:ident: $name_type:ty = $name_key:literal, $name_kind:expr, $name_shown:tt;
        })?
        {
            $(
                $(#[doc = $help:literal])+
                pub $field:ident: $type:ty = $key:literal, $kind:expr, $shown:tt;
            )+
        }
    ) => {
        $(#[doc = $about])+
        $(#[derive($derive)])+
        pub struct $name {
            $($( $(#[doc = $given_help])+ pub $given: $given_type, )+)?
            $( $(#[doc = $name_help])+ pub $named: $name_type, )?
            $( $(#[doc = $help])+ pub $field: $type, )+
        }

        impl $name {
            /// Options of the section.
            pub const SECTION: $crate::config::Section = $crate::config::Section {
                about: concat!($($about, "\n"),+),
                options: &[
                    $( $crate::config::Description {
                        key: $name_key,
                        shown: stringify!($name_shown),
                        help: concat!($($name_help, "\n"),+),
                        kind: &$name_kind,
                    }, )?
                    $( $crate::config::Description {
                        key: $key,
                        shown: stringify!($shown),
                        help: concat!($($help, "\n"),+),
                        kind: &$kind,
                    }, )+
                ],
            };

            /// Reads all options; the result takes what is given besides them.
            pub(in crate::config) fn read(
                r: &mut $crate::config::reader::Reader<'_>,
            ) -> impl FnOnce($($($given_type,)+)? $($name_type)?) -> Self + use<> {
                $( let $field = $crate::config::option::Read::<$type>::read(&$kind, r, $key); )+
                move |$($($given: $given_type,)+)? $($named: $name_type)?| Self {
                    $($($given,)+)?
                    $($named,)?
                    $($field,)+
                }
            }
        }
    };
}

/// Defines an enum that is written as one of a few words.
macro_rules! words {
    (
        $(#[doc = $about:literal])+
        pub enum $name:ident {
            $( $(#[doc = $help:literal])+ $variant:ident = $word:literal, )+
        }
        $( without { $( $absent:literal: $instead:literal, )+ } )?
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $( $(#[doc = $help])+ $variant, )+
        }

        impl $crate::config::option::Words for $name {
            const WORDS: &'static [(&'static str, Self)] = &[$( ($word, Self::$variant), )+];
            $( const ABSENT: &'static [(&'static str, &'static str)] = &[$( ($absent, $instead), )+]; )?
        }
    };
}

pub(super) use {section, words};

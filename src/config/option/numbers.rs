//! Options that are numbers, each kind with its unit.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Describe, Read};
use crate::config::reader::Reader;

pub(in crate::config) const MIB: i128 = 1024 * 1024;
pub(in crate::config) const GIB: i128 = 1024 * MIB;
pub(in crate::config) const HOUR_MS: i128 = 60 * 60 * 1000;
pub(in crate::config) const DAY_SECS: i128 = 24 * 60 * 60;

/// Unit of a number.
#[derive(Clone, Copy)]
enum Unit {
    One,
    Bytes,
    Millis,
    Secs,
    Days,
}

impl Unit {
    /// Returns the unit as an error or a page says it, with a blank in front.
    const fn said(self) -> &'static str {
        match self {
            Self::One => "",
            Self::Bytes => " of bytes",
            Self::Millis => " of milliseconds",
            Self::Secs => " of seconds",
            Self::Days => " of days",
        }
    }

    #[cfg(test)]
    const fn ending(self) -> Option<&'static str> {
        match self {
            Self::One => None,
            Self::Bytes => Some("_bytes"),
            Self::Millis => Some("_ms"),
            Self::Secs => Some("_secs"),
            Self::Days => Some("_days"),
        }
    }
}

/// Defines a kind of number: its unit, and the length of one.
macro_rules! numbers {
    ($( $(#[doc = $about:literal])+ $name:ident: $unit:ident; )+) => {
        $(
            $(#[doc = $about])+
            pub(in crate::config) struct $name(pub RangeInclusive<i128>);

            impl $name {
                fn read_number<N: TryFrom<i128>>(
                    &self,
                    r: &mut Reader<'_>,
                    key: &'static str,
                ) -> Option<N> {
                    r.number(key, &self.0, Unit::$unit.said())
                }
            }

            impl Describe for $name {
                fn takes(&self) -> String {
                    let (least, most) = (self.0.start(), self.0.end());
                    format!("whole number{} from {least} to {most}", Unit::$unit.said())
                }

                #[cfg(test)]
                fn ending(&self) -> Option<&'static str> {
                    Unit::$unit.ending()
                }
            }
        )+
    };
}

numbers! {
    /// A number of things.
    Count: One;
    /// A number of bytes.
    Bytes: Bytes;
    /// A time span in milliseconds.
    Millis: Millis;
    /// A time span in seconds.
    Secs: Secs;
    /// A time span in days.
    Days: Days;
}

/// A part of a whole.
pub(in crate::config) struct Ratio;

impl Describe for Ratio {
    fn takes(&self) -> String {
        "ratio from 0 to 1".to_owned()
    }

    #[cfg(test)]
    fn ending(&self) -> Option<&'static str> {
        Some("_ratio")
    }
}

impl Read<f64> for Ratio {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> f64 {
        r.ratio(key).unwrap_or_default()
    }
}

/// Reads a kind of number as itself, required or not.
macro_rules! plain_numbers {
    ($($kind:ident as $type:ty),+) => { $(
        impl Read<$type> for $kind {
            fn read(&self, r: &mut Reader<'_>, key: &'static str) -> $type {
                self.read_number(r, key).unwrap_or_default()
            }
        }

        impl Read<Option<$type>> for $kind {
            fn read(&self, r: &mut Reader<'_>, key: &'static str) -> Option<$type> {
                self.read_number(r, key)
            }
        }
    )+ };
}

plain_numbers!(
    Count as usize,
    Count as u32,
    Count as u64,
    Bytes as usize,
    Bytes as u64,
    Secs as u64
);

/// Reads a kind of number as a time span, required or not.
macro_rules! spans {
    ($($kind:ident: $of:expr;)+) => { $(
        impl Read<Option<Duration>> for $kind {
            fn read(&self, r: &mut Reader<'_>, key: &'static str) -> Option<Duration> {
                self.read_number::<u64>(r, key).map($of)
            }
        }

        impl Read<Duration> for $kind {
            fn read(&self, r: &mut Reader<'_>, key: &'static str) -> Duration {
                Read::<Option<Duration>>::read(self, r, key).unwrap_or_default()
            }
        }
    )+ };
}

spans! {
    Millis: Duration::from_millis;
    Secs: Duration::from_secs;
    Days: |days| Duration::from_secs(days.saturating_mul(DAY_SECS as u64));
}

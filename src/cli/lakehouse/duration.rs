//! Ages on the command line.

use std::str::FromStr;
use std::time::Duration;

/// An age, such as `2d`, `12h`, `30m` or `90s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Age(pub(super) Duration);

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "expected a number with d, h, m or s, such as 2d".to_owned();
        let unit = text.chars().last().ok_or_else(wrong)?;
        let secs: u64 = match unit {
            'd' => 86_400,
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return Err(wrong()),
        };
        let number: u64 = text[..text.len() - unit.len_utf8()]
            .parse()
            .map_err(|_| wrong())?;
        let secs = number.checked_mul(secs).ok_or_else(wrong)?;
        Ok(Self(Duration::from_secs(secs)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_a_number_and_a_unit() {
        let secs = |text: &str| text.parse::<Age>().map(|age| age.0.as_secs());
        assert_eq!(secs("2d"), Ok(172_800));
        assert_eq!(secs("0s"), Ok(0));
        for wrong in [
            "",
            "d",
            "2",
            "-1d",
            "1.5h",
            "2w",
            "2é",
            "99999999999999999d",
        ] {
            assert!(secs(wrong).is_err(), "{wrong}");
        }
    }
}

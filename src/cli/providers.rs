//! `hookweir providers`.

use super::Failure;

pub(super) fn run(_name: Option<&str>) -> Result<(), Failure> {
    Ok(())
}

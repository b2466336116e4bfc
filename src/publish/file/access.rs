//! The readers of what the sink writes: its owner alone, or a group, or all.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, fchown};
use std::path::Path;

use nix::unistd::Group;

/// Who may read what the sink writes.
#[derive(Clone, Debug)]
pub struct Access {
    /// Permissions of the files.
    pub mode: u32,
    /// Name or number of their group; that of the process if None.
    pub group: Option<String>,
}

impl Access {
    /// For nobody but the owner.
    pub const PRIVATE: Self = Self {
        mode: crate::runtime::folder::PRIVATE,
        group: None,
    };

    /// Finds the group.
    pub(super) fn resolve(&self) -> io::Result<Resolved> {
        let find = |name: &String| match name.parse::<u32>() {
            Ok(number) => Ok(number),
            Err(_) => match Group::from_name(name) {
                Ok(Some(group)) => Ok(group.gid.as_raw()),
                Ok(None) => Err(io::Error::other(format!(
                    "publisher.file_group: this machine knows no group \"{name}\""
                ))),
                Err(error) => Err(io::Error::other(format!(
                    "publisher.file_group: the group \"{name}\" cannot be looked up: {error}"
                ))),
            },
        };
        Ok(Resolved {
            mode: self.mode,
            group: self.group.as_ref().map(find).transpose()?,
        })
    }
}

/// The same with the group's number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resolved {
    mode: u32,
    group: Option<u32>,
}

impl Resolved {
    /// Gives a file to its readers.
    pub(super) fn give(self, file: &File) -> io::Result<()> {
        if let Some(group) = self.group {
            fchown(file, None, Some(group)).map_err(|error| self.refused(&error))?;
        }
        file.set_permissions(Permissions::from_mode(self.mode))
    }

    /// Lets the readers of the files into the folder. Nobody's permissions on a folder that was there are taken away.
    pub(super) fn let_into(self, folder: &Path) -> io::Result<()> {
        if let Some(group) = self.group {
            chown(folder, None, Some(group)).map_err(|error| self.refused(&error))?;
        }
        let now = fs::metadata(folder)?.permissions().mode() & 0o7777;
        // Who may read a file may list the folder, and go in.
        let wanted = now | (self.mode & 0o444) | ((self.mode & 0o444) >> 2);
        if wanted == now {
            Ok(())
        } else {
            fs::set_permissions(folder, Permissions::from_mode(wanted))
        }
    }

    /// Takes what is more than these permissions from a file of an earlier run.
    pub(super) fn tighten(self, path: &Path) {
        let Some(mode) = fs::metadata(path)
            .ok()
            .map(|file| file.permissions().mode() & 0o7777)
        else {
            return;
        };
        if mode & !self.mode == 0 {
            return;
        }
        if let Err(error) = fs::set_permissions(path, Permissions::from_mode(mode & self.mode)) {
            tracing::warn!(
                "{}: its permissions are {mode:o}, more than publisher.file_mode, and cannot be changed: {error}",
                path.display()
            );
        }
    }

    fn refused(self, error: &io::Error) -> io::Error {
        let group = self.group.unwrap_or_default();
        io::Error::new(
            error.kind(),
            format!(
                "it cannot be given to the group {group} of publisher.file_group: {error}; make the service's user a member"
            ),
        )
    }
}

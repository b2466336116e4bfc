//! Permissions of the event files: for the owner alone, for a group, or for everybody.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, fchown};
use std::path::Path;

use nix::unistd::Group;

/// Permissions of the event files.
#[derive(Clone, Debug)]
pub struct Access {
    /// Mode of the files.
    pub mode: u32,
    /// Name or number of their group. None: the group of the process.
    pub group: Option<String>,
}

impl Access {
    /// Access for the owner alone.
    pub const PRIVATE: Self = Self {
        mode: crate::runtime::folder::PRIVATE,
        group: None,
    };

    /// Looks the group up.
    pub(super) fn resolve(&self) -> io::Result<ResolvedAccess> {
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
        Ok(ResolvedAccess {
            mode: self.mode,
            group: self.group.as_ref().map(find).transpose()?,
        })
    }
}

/// Permissions with the number of the group.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResolvedAccess {
    mode: u32,
    group: Option<u32>,
}

impl ResolvedAccess {
    /// Sets the permissions of a file.
    pub(super) fn apply(self, file: &File) -> io::Result<()> {
        if let Some(group) = self.group {
            fchown(file, None, Some(group)).map_err(|error| self.refused(&error))?;
        }
        file.set_permissions(Permissions::from_mode(self.mode))
    }

    /// Lets the readers of the files into the folder. It removes no permission that the folder has.
    pub(super) fn open_folder(self, folder: &Path) -> io::Result<()> {
        if let Some(group) = self.group {
            chown(folder, None, Some(group)).map_err(|error| self.refused(&error))?;
        }
        let now = fs::metadata(folder)?.permissions().mode() & 0o7777;
        // Readers of a file may list and enter the folder.
        let wanted = now | (self.mode & 0o444) | ((self.mode & 0o444) >> 2);
        if wanted == now {
            Ok(())
        } else {
            fs::set_permissions(folder, Permissions::from_mode(wanted))
        }
    }

    /// Removes the permissions beyond these from a file of an earlier run.
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
                "cannot change the permissions of {}, which are {mode:o} and wider than publisher.file_mode: {error}; events are still written; change the file's mode by hand",
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

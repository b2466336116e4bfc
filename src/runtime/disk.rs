//! The disk below a path: durability of synced data, and permissions.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Magic numbers of `statfs(2)`, with the names that `mount` shows. (ext2, ext3 and ext4 share one, and FUSE stands for many.)
const NAMES: &[(i128, &str)] = &[
    (0x0102_1994, "tmpfs"),
    (0x8584_58f6, "ramfs"),
    (0x9584_58f6, "hugetlbfs"),
    (0x794c_7630, "overlayfs"),
    (0x0000_ef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x2fc1_2fc1, "zfs"),
    (0xca45_1a4e, "bcachefs"),
    (0xf2f5_2010, "f2fs"),
    (0x0000_6969, "nfs"),
    (0xfe53_4d42, "smb2"),
    (0xff53_4d42, "cifs"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "ceph"),
    (0x6573_5546, "fuse"),
];

/// A kind of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// Memory: a sync has no effect, and its data is lost with the machine or the container. Holds
    /// the name that `mount` shows.
    Memory(&'static str),
    /// Upper layer of a container's image: its data is lost with the container.
    Layer,
    /// Anything else.
    Disk,
}

impl FileSystem {
    /// Returns the file system below `path`, or below its nearest existing folder.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(match name(magic(path)?) {
            Some(name @ ("tmpfs" | "ramfs" | "hugetlbfs")) => Self::Memory(name),
            Some("overlayfs") => Self::Layer,
            _ => Self::Disk,
        })
    }
}

/// Returns the free space of the disk below `path`, in bytes, as far as this user may use it.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(existing(path))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// `path`, or its nearest existing folder.
fn existing(path: &Path) -> &Path {
    let above = path
        .ancestors()
        .find(|above| above.exists())
        .filter(|above| !above.as_os_str().is_empty());
    above.unwrap_or(Path::new("."))
}

fn magic(path: &Path) -> io::Result<i128> {
    let magic = i128::from(rustix::fs::statfs(existing(path))?.f_type);
    // A 32-bit field is extended by its sign.
    Ok(magic & 0xffff_ffff)
}

fn name(magic: i128) -> Option<&'static str> {
    let known = NAMES.iter().find(|(number, _)| *number == magic);
    known.map(|(_, name)| *name)
}

/// Returns a description of the file system below `path`.
pub fn describe(path: &Path) -> String {
    let magic = match magic(path) {
        Ok(magic) => magic,
        Err(error) => return format!("a file system that cannot be asked ({error})"),
    };
    match name(magic) {
        Some(name @ ("tmpfs" | "ramfs" | "hugetlbfs")) => format!("{name} (memory)"),
        Some("overlayfs") => "overlayfs (gone with the container)".to_owned(),
        Some(name) => name.to_owned(),
        None => format!("file system {magic:#x}"),
    }
}

/// Returns the reason why a commit to `path` would not be durable, if so. `what` lies there;
/// `option` names it.
pub fn refusal(path: &Path, what: &str, option: &str) -> Option<String> {
    let Ok(FileSystem::Memory(name)) = FileSystem::of(path) else {
        return None;
    };
    Some(format!(
        "{option}: {what} {} lies on {name}, which is memory: what is accepted would be gone with the machine or the container. Put it on a \
         disk, or, for trials only, set store.allow_unsafe_durability = true",
        path.display()
    ))
}

/// Returns a warning about the disk below `path`, if there is one.
pub fn warning(path: &Path, what: &str, option: &str) -> Option<String> {
    (FileSystem::of(path).ok()? == FileSystem::Layer).then(|| {
        format!(
            "{option}: {what} {} lies on overlayfs, the file system of a container's image: what is in it is gone with the container. \
             Mount a volume there",
            path.display()
        )
    })
}

/// Returns the permissions of `path` if anybody but its owner has any.
pub fn open_to_others(path: &Path) -> Option<u32> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & 0o077 != 0).then_some(mode)
}

/// Identity of a file, which differs from that of another file at the same path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// Returns the identity of the file at `path`, if there is one.
    pub(crate) fn of(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(file) => Ok(Some(Self::from(&file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns `true` if this process has the file open.
    pub(crate) fn is_open(self) -> bool {
        let Ok(descriptors) = fs::read_dir("/proc/self/fd") else {
            return false;
        };
        descriptors
            .flatten()
            .any(|descriptor| Self::of(&descriptor.path()).is_ok_and(|other| other == Some(self)))
    }
}

impl From<&fs::Metadata> for Identity {
    fn from(file: &fs::Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_from_a_disk() {
        let shm = Path::new("/dev/shm/not/there/yet.db");
        assert_eq!(
            FileSystem::of(shm).expect("a file system"),
            FileSystem::Memory("tmpfs")
        );
        let refused = refusal(shm, "the database", "store.url").expect("refused");
        assert!(
            refused.contains("tmpfs") && refused.contains("allow_unsafe_durability"),
            "{refused}"
        );
        assert_eq!(
            FileSystem::of(Path::new("not-there/yet.db")).expect("a file system"),
            FileSystem::of(Path::new(".")).expect("a file system")
        );
        assert_eq!(warning(shm, "the database", "store.url"), None);
        assert_eq!(describe(shm), "tmpfs (memory)");
        assert!(describe(Path::new("/proc/self/status")).starts_with("file system 0x"));
    }
}

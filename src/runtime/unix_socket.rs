//! A listening Unix socket under a path: for its owner and its group, and never taken from a process
//! that still listens.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::folder;

/// Permissions of the socket: to connect takes the right to write.
const MODE: u32 = 0o660;

/// Path of a listening socket. Dropped, the path is removed.
#[derive(Debug)]
pub(crate) struct SocketPath {
    path: PathBuf,
    /// Tells another process that this one listens. The kernel releases it with the process.
    _lock: File,
}

/// Returns a socket that listens at `path`. A socket that a dead process has left there is replaced.
pub(crate) fn bind(path: &Path) -> io::Result<(UnixListener, SocketPath)> {
    folder::create(folder::of(path))?;
    let lock = folder::lock_by_name(&folder::beside(path, ".lock"))?;
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is no socket is there",
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    let bound = SocketPath {
        path: path.to_owned(),
        _lock: lock,
    };
    // Until here the umask of the service keeps other users out.
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    Ok((listener, bound))
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        // The next start removes it otherwise.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_socket_of_a_dead_process_is_replaced_and_one_in_use_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/admin.sock");
        let (listener, bound) = bind(&path).expect("bound");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let second = bind(&path).expect_err("the first still listens");
        assert!(second.to_string().contains("another process"), "{second}");
        UnixStream::connect(&path).expect("the first one answers");

        // A dead process leaves its socket, and no lock.
        drop(listener);
        let path_only = bound.path.clone();
        drop(bound);
        assert!(!path_only.exists(), "an orderly stop removes it");
        drop(UnixListener::bind(&path).expect("left behind"));
        assert!(UnixStream::connect(&path).is_err(), "nobody listens");
        let (_listener, _bound) = bind(&path).expect("replaced");
        UnixStream::connect(&path).expect("the new one answers");
    }

    #[test]
    fn a_file_that_is_no_socket_is_never_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notes");
        fs::write(&path, "kept").expect("written");
        bind(&path).expect_err("a file is there");
        assert_eq!(fs::read_to_string(&path).expect("there"), "kept");
    }
}

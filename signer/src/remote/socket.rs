//! The socket file: who may reach it, and who is at the other end.
//!
//! The file has mode 0600 from the moment it has its name, in a folder that nobody else can write. Both ends ask the kernel for the
//! other's user: it must be our own or root. The client refuses a socket that is open to others, so that no PIN goes to a stranger.

use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// Why a socket is not used.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The system.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is a file of another kind.
    #[error("{0} is there and is not a socket")]
    NoSocket(PathBuf),
    /// Others could put another socket in its place.
    #[error("{0} can be written by others: the signer's socket needs a folder of its own")]
    OpenFolder(PathBuf),
    /// Others can reach it.
    #[error("{path} has mode {mode:o}: it must be for its user alone (600)")]
    OpenSocket {
        /// Which.
        path: PathBuf,
        /// What it has.
        mode: u32,
    },
    /// Somebody else is at the other end.
    #[error("user {found} is at the other end, not {wanted}")]
    Stranger {
        /// Who.
        found: u32,
        /// We.
        wanted: u32,
    },
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> SocketError {
    let path = path.to_owned();
    move |source| SocketError::Io { path: path.clone(), source }
}

/// Makes the socket; one that an earlier process left is replaced.
pub(super) fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    check_folder(folder)?;
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => return Err(SocketError::NoSocket(path.to_owned())),
        _ => {}
    }
    // Under another name first, so that it is never there with another mode.
    let hidden = folder.join(format!(".signer-{}", std::process::id()));
    let _ = std::fs::remove_file(&hidden);
    let listener = UnixListener::bind(&hidden).map_err(io(&hidden))?;
    let placed = std::fs::set_permissions(&hidden, PermissionsExt::from_mode(0o600))
        .and_then(|()| std::fs::rename(&hidden, path));
    if let Err(error) = placed {
        let _ = std::fs::remove_file(&hidden);
        return Err(io(path)(error));
    }
    Ok(listener)
}

fn check_folder(folder: &Path) -> Result<(), SocketError> {
    let found = std::fs::metadata(folder).map_err(io(folder))?;
    let sticky = found.mode() & 0o1000 != 0;
    if found.mode() & 0o022 != 0 && !sticky {
        return Err(SocketError::OpenFolder(folder.to_owned()));
    }
    Ok(())
}

/// Connects to a socket that is for us alone, served by ourselves.
pub(super) async fn connect(path: &Path) -> Result<UnixStream, SocketError> {
    let found = std::fs::metadata(path).map_err(io(path))?;
    if !found.file_type().is_socket() {
        return Err(SocketError::NoSocket(path.to_owned()));
    }
    if found.mode() & 0o077 != 0 {
        return Err(SocketError::OpenSocket { path: path.to_owned(), mode: found.mode() & 0o777 });
    }
    let stream = UnixStream::connect(path).await.map_err(io(path))?;
    check_peer(&stream)?;
    Ok(stream)
}

/// The other end is a process of our own user, or root's.
pub(super) fn check_peer(stream: &UnixStream) -> Result<(), SocketError> {
    let peer = rustix::net::sockopt::socket_peercred(stream.as_fd())
        .map_err(|error| io(Path::new("the socket"))(error.into()))?;
    check_user(peer.uid.as_raw(), rustix::process::geteuid().as_raw())
}

fn check_user(found: u32, wanted: u32) -> Result<(), SocketError> {
    const ROOT: u32 = 0;
    if found == wanted || found == ROOT { Ok(()) } else { Err(SocketError::Stranger { found, wanted }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_user_and_root_are_let_in() {
        let cases = [(1000, 1000, true), (0, 1000, true), (1000, 0, false), (1001, 1000, false)];
        for (found, wanted, expected) in cases {
            assert_eq!(check_user(found, wanted).is_ok(), expected, "{found} {wanted}");
        }
    }

    #[tokio::test]
    async fn the_socket_is_for_its_user_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let stream = connect(&path).await.unwrap();
        check_peer(&stream).unwrap();
        // What an earlier process left is replaced.
        drop(listener);
        let _listener = bind(&path).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_open_to_others_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        };
        let _listener = bind(&path).unwrap();
        for open in [0o660, 0o606, 0o644] {
            mode(&path, open);
            let refused = connect(&path).await.unwrap_err();
            assert!(matches!(refused, SocketError::OpenSocket { mode, .. } if mode == open), "{refused}");
        }
        mode(dir.path(), 0o770);
        assert!(matches!(bind(&path).unwrap_err(), SocketError::OpenFolder(_)));
        mode(dir.path(), 0o700);
        let file = dir.path().join("file");
        std::fs::write(&file, "kept").unwrap();
        assert!(matches!(bind(&file).unwrap_err(), SocketError::NoSocket(_)));
        assert!(matches!(connect(&file).await.unwrap_err(), SocketError::NoSocket(_)));
        assert_eq!(std::fs::read(&file).unwrap(), b"kept");
    }
}

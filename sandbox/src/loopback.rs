//! Loopback addresses of one's own: configurations carry hosts and not ports, so two servers on one machine need two addresses.
//!
//! A [`Claim`] on 127.x.y.z is an exclusive lock on a file of that name in a folder of this user under the system's temporary
//! folder, so no two claims of parallel processes are alike. The kernel frees the lock when the process dies, however it dies. The
//! files themselves stay: removing one would let two processes lock two files of one name. Besides the lock, the ports that configurations
//! take for granted must be free there, since other users and other programs know nothing of the locks.
//!
//! Linux answers on all of 127.0.0.0/8 without set-up; on a system that does not, the claim fails and says so.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where security servers take messages.
pub const SERVER_PORT: u16 = 5500;
/// Where they give OCSP answers.
pub const OCSP_PORT: u16 = 5577;
/// Where a central server takes registrations of security servers.
pub const REGISTRATION_PORT: u16 = 4001;
/// Where it takes other management requests.
pub const MANAGEMENT_PORT: u16 = 4002;
/// Of a central server, for the configuration: none of those that the kernel gives to whoever asks for any.
pub const CONFIGURATION_PORT: u16 = 4080;
/// What must be free at an address.
const PORTS: [u16; 4] = [SERVER_PORT, OCSP_PORT, REGISTRATION_PORT, MANAGEMENT_PORT];

/// First of [`COUNT`] addresses that are tried in order: 127.20.0.1.
const FIRST: u32 = u32::from_be_bytes([127, 20, 0, 1]);
/// How many there are.
const COUNT: u32 = 4096;

/// An address that is ours until this is dropped or the process ends.
#[derive(Debug)]
pub struct Claim {
    address: Ipv4Addr,
    _lock: File,
}

/// Why no address could be claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The lock folder cannot be used.
    #[error("{path}: {source}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// All are taken.
    #[error("no loopback address with free ports {PORTS:?} was found: {last}")]
    NoneFree {
        /// Why the last candidate could not be had.
        last: String,
    },
}

impl Claim {
    /// Claims `preferred` if it can be had, else the first free address.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub fn take(preferred: Option<Ipv4Addr>) -> Result<Self, ClaimError> {
        let [claim] = Self::take_all([preferred])?;
        Ok(claim)
    }

    /// Claims this address, if it can be had.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub fn take_this(address: Ipv4Addr) -> Result<Option<Self>, ClaimError> {
        Ok(Self::exactly(&lock_folder()?, address)?.ok())
    }

    /// The same for several. What is preferred is claimed before anything new, so that none takes the place of another.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub fn take_all<const N: usize>(preferred: [Option<Ipv4Addr>; N]) -> Result<[Self; N], ClaimError> {
        let folder = lock_folder()?;
        let mut claims = [const { None }; N];
        for (claim, address) in claims.iter_mut().zip(preferred) {
            if let Some(address) = address {
                *claim = Self::exactly(&folder, address)?.ok();
            }
        }
        for claim in claims.iter_mut().filter(|claim| claim.is_none()) {
            *claim = Some(Self::first_free(&folder)?);
        }
        Ok(claims.map(|claim| claim.expect("every place is filled by now")))
    }

    fn first_free(folder: &Path) -> Result<Self, ClaimError> {
        let mut last = String::new();
        for address in (0..COUNT).map(|n| Ipv4Addr::from(FIRST + n)) {
            match Self::exactly(folder, address)? {
                Ok(claim) => return Ok(claim),
                Err(why) => last = why,
            }
        }
        Err(ClaimError::NoneFree { last })
    }

    /// This address, or why it cannot be had.
    fn exactly(folder: &Path, address: Ipv4Addr) -> Result<Result<Self, String>, ClaimError> {
        let path = folder.join(address.to_string());
        let open = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let lock = open.map_err(|source| ClaimError::Folder { path: path.clone(), source })?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Err(format!("{address} is in use"))),
            Err(TryLockError::Error(source)) => return Err(ClaimError::Folder { path, source }),
        }
        Ok(match ports_free(address) {
            Ok(()) => Ok(Self { address, _lock: lock }),
            Err(error) => Err(error.to_string()),
        })
    }

    /// The address, to be claimed again.
    pub fn v4(&self) -> Ipv4Addr {
        self.address
    }

    /// The address.
    pub fn address(&self) -> IpAddr {
        IpAddr::V4(self.address)
    }

    /// The address with a port.
    pub fn with_port(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address(), port)
    }
}

fn ports_free(address: Ipv4Addr) -> io::Result<()> {
    for port in PORTS {
        let at = SocketAddr::from((address, port));
        drop(TcpListener::bind(at).map_err(|error| io::Error::new(error.kind(), format!("{at}: {error}")))?);
    }
    Ok(())
}

/// One folder per user, mode 0700; a folder of that name that somebody else made is refused.
fn lock_folder() -> Result<PathBuf, ClaimError> {
    let user = rustix::process::getuid().as_raw();
    let path = std::env::temp_dir().join(format!("causeway-loopback-{user}"));
    let made = match DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    let checked = made.and_then(|()| path.symlink_metadata()).and_then(|found| {
        if found.is_dir() && found.uid() == user {
            Ok(())
        } else {
            Err(io::Error::other("this is not a folder of the user who runs this"))
        }
    });
    match checked {
        Ok(()) => Ok(path),
        Err(source) => Err(ClaimError::Folder { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_never_share_an_address_and_come_back_when_dropped() {
        let first = Claim::take(None).unwrap();
        let second = Claim::take(Some(first.address)).unwrap();
        assert_ne!(first.address, second.address);
        let freed = first.address;
        drop(first);
        // Another test process may be quicker; a claim of ours that is still held must stay out either way.
        let third = Claim::take(Some(freed)).unwrap();
        assert_ne!(third.address, second.address);
    }

    #[test]
    fn an_address_that_was_had_is_not_taken_for_another() {
        let [first, second] = Claim::take_all([None, None]).unwrap();
        let (gone, kept) = (first.address, second.address);
        assert_ne!(gone, kept);
        drop(second);
        // The first one is still taken: who had it must not fall back on the place of the second.
        let [new, same] = Claim::take_all([Some(gone), Some(kept)]).unwrap();
        assert!(new.address != gone && new.address != kept, "{new:?} {same:?}");
    }

    #[test]
    fn an_address_whose_port_is_taken_is_passed_over() {
        let claim = Claim::take(None).unwrap();
        let address = claim.address;
        // A test beside this one starts a process; between fork and exec that has our probing listener open for a moment.
        let bind = || TcpListener::bind(claim.with_port(SERVER_PORT)).ok();
        let wait = || std::thread::sleep(std::time::Duration::from_millis(10));
        let _listener = (0..500).find_map(|_| bind().or_else(|| (wait(), None).1)).unwrap();
        drop(claim);
        assert_ne!(Claim::take(Some(address)).unwrap().address, address);
    }

    #[test]
    fn a_claim_is_freed_when_its_process_is_killed() {
        // A child that claims, says which, and waits to be killed: this very test, run again with the variable set.
        const ROLE: &str = "CAUSEWAY_TEST_CLAIMANT";
        if std::env::var_os(ROLE).is_some() {
            let claim = Claim::take(None).unwrap();
            println!("claimed {}", claim.address);
            std::thread::sleep(std::time::Duration::from_secs(60));
            return;
        }
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "loopback::tests::a_claim_is_freed_when_its_process_is_killed", "--nocapture"])
            .env(ROLE, "1")
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let output = io::BufReader::new(child.stdout.take().unwrap());
        let line =
            io::BufRead::lines(output).map(Result::unwrap).find(|line| line.contains("claimed ")).unwrap();
        let address: Ipv4Addr = line.rsplit(' ').next().unwrap().parse().unwrap();
        let lock = File::open(lock_folder().unwrap().join(address.to_string())).unwrap();
        assert!(matches!(lock.try_lock(), Err(TryLockError::WouldBlock)), "the child holds {address}");
        child.kill().unwrap();
        child.wait().unwrap();
        lock.lock().unwrap();
    }
}

//! Listening sockets that outlive one run of a server: between two runs new connections wait in the kernel's queue instead of being
//! refused, and a port that the kernel chose stays the same.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait in the kernel until they are accepted; the kernel allows no more than its `net.core.somaxconn`. With the
/// 128 of the standard library some hundred clients that come at once would lose a second each.
const BACKLOG: u32 = 4096;

/// The sockets of one server, by what they are for. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Sockets(Arc<Mutex<HashMap<&'static str, std::net::TcpListener>>>);

impl Sockets {
    /// The socket of this name: bound to `address` the first time, the same socket from then on.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn bind(&self, name: &'static str, address: SocketAddr) -> io::Result<TcpListener> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).map(|s| s.try_clone());
        let socket = match kept {
            Some(socket) => socket?,
            None => {
                let socket = listen(address)?.into_std()?;
                let kept = socket.try_clone()?;
                self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, kept);
                socket
            }
        };
        TcpListener::from_std(socket)
    }
}

/// Listens on `address`; port 0 takes a free one.
///
/// # Errors
/// The address cannot be had.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A server that is started again gets its port though connections of the one before are still closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn hundreds_that_come_at_once_need_not_try_again() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        for _ in 0..400 {
            let connected =
                tokio::time::timeout(std::time::Duration::from_secs(20), TcpStream::connect(address));
            waiting.push(connected.await.expect("nobody accepts, and it is let in").unwrap());
        }
    }

    #[tokio::test]
    async fn who_comes_between_two_runs_is_served_by_the_second() {
        let (sockets, any) = (Sockets::default(), SocketAddr::from(([127, 0, 0, 1], 0)));
        let first = sockets.bind("api", any).unwrap();
        let address = first.local_addr().unwrap();
        drop(first);
        let waiting = TcpStream::connect(address).await.unwrap();
        let second = sockets.bind("api", any).unwrap();
        let (_, peer) = second.accept().await.unwrap();
        assert_eq!(peer, waiting.local_addr().unwrap());
        assert_ne!(sockets.bind("other", any).unwrap().local_addr().unwrap(), address);
    }
}

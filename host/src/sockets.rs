//! Listening sockets that outlive one run of a server: between two runs new connections wait in the kernel's queue instead of being
//! refused, and a port that the kernel chose stays the same.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpListener;

/// The sockets of one server, by what they are for. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Sockets(Arc<Mutex<HashMap<&'static str, std::net::TcpListener>>>);

impl Sockets {
    /// The socket of this name: bound to `address` the first time, the same socket from then on.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn bind(&self, name: &'static str, address: SocketAddr) -> io::Result<TcpListener> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).map(|s| s.try_clone());
        let socket = match kept {
            Some(socket) => socket?,
            None => {
                let socket = TcpListener::bind(address).await?.into_std()?;
                let kept = socket.try_clone()?;
                self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, kept);
                socket
            }
        };
        TcpListener::from_std(socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn who_comes_between_two_runs_is_served_by_the_second() {
        let (sockets, any) = (Sockets::default(), SocketAddr::from(([127, 0, 0, 1], 0)));
        let first = sockets.bind("api", any).await.unwrap();
        let address = first.local_addr().unwrap();
        drop(first);
        let waiting = TcpStream::connect(address).await.unwrap();
        let second = sockets.bind("api", any).await.unwrap();
        let (_, peer) = second.accept().await.unwrap();
        assert_eq!(peer, waiting.local_addr().unwrap());
        assert_ne!(sockets.bind("other", any).await.unwrap().local_addr().unwrap(), address);
    }
}

//! The listener, handed from one process to the next without a connection lost: the new process asks for the sockets
//! over a Unix socket in the data folder, and gets them with `SCM_RIGHTS` (unix(7)). Both then hold the same sockets, so
//! a connection that comes while nobody accepts waits in the kernel's queue.
//!
//! | the old process | the new one |
//! |---|---|
//! | serves, and listens at `handover.sock` | reads its configuration; what is wrong ends it here |
//! | sends its sockets | has them, and waits |
//! | accepts no more; what it has been asked is answered, new requests on open connections too | |
//! | after [`PATIENCE`] at most: writes down what was learnt, lets go of store and logs, and says so | |
//! | finishes what still streams | opens store and logs, accepts, says that it serves |
//! | ends | |
//!
//! Store, pins and conversations have one owner at a time. The old process keeps the sockets until the new one serves;
//! where that ends before it does (its end closes the Unix socket), the old one begins anew with them, and connections
//! have waited in the kernel's queue meanwhile. One that neither serves nor ends within [`HEIR_MAX`] is ended.
//!
//! A service manager may hold the sockets as well ([`Inherited::from_manager`], `sd_listen_fds(3)`).

use anyhow::{Context, Result, bail};
use listenfd::ListenFd;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use rustix::process::{Pid, Signal};
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::time::timeout;

/// How long requests may take before the new process begins: it opens the store when they are over, or at the latest
/// then. What streams for longer is finished by the old one, and not counted.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// So long connections that are idle stay open: whoever uses one then is answered, and told to close it.
pub(super) const LINGER: Duration = Duration::from_millis(500);
/// So long the new process may take from store and logs to serving; then it hangs, and is ended.
pub(super) const HEIR_MAX: Duration = Duration::from_mins(1);
/// So long it may take to be gone then.
const GONE_MAX: Duration = Duration::from_secs(5);
/// The listener and that of the management API.
const SOCKETS_MAX: usize = 2;
/// What is said with the sockets, and when store and logs are let go of.
const HERE: &[u8; 1] = b"L";
const RELEASED: u8 = b'R';
/// What the new process says when it accepts.
const SERVES: u8 = b'S';

/// The sockets of an earlier process, or of this one before.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    listeners: Vec<TcpListener>,
    /// Whoever gave them, and waits to hear that they are served.
    giver: Option<UnixStream>,
    /// Turns that it goes on with and that nobody hears of.
    pub(super) left_behind: u64,
}

/// What became of a handover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Succession {
    /// The other process serves.
    Serves,
    /// It ended before it did.
    Gone,
}

impl Inherited {
    /// Those that a service manager has opened for this process (`LISTEN_FDS`); none where there is no manager.
    ///
    /// # Errors
    /// When one of them is no socket that listens.
    pub(super) fn from_manager() -> Result<Self> {
        let mut passed = ListenFd::from_env();
        let mut listeners = Vec::new();
        for at in 0..passed.len() {
            let listener = passed.take_tcp_listener(at).with_context(|| format!("socket {at} of LISTEN_FDS"))?;
            let listener = listener.with_context(|| format!("socket {at} of LISTEN_FDS is gone"))?;
            // what this process starts is not to hold them
            rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::CLOEXEC)?;
            listeners.push(listener);
        }
        Ok(Self { listeners, giver: None, left_behind: 0 })
    }

    /// The same, with what a service manager has opened besides: for addresses that the other has not.
    pub(super) fn or(mut self, managed: Self) -> Self {
        self.listeners.extend(managed.listeners);
        self
    }

    /// Whether all of them will be served: at another address whoever connects would wait for ever.
    ///
    /// # Errors
    /// When one of them is at none of these.
    pub(super) fn must_be_at(&self, served: &[SocketAddr]) -> Result<()> {
        let addresses = self.listeners.iter().filter_map(|listener| listener.local_addr().ok());
        match addresses.into_iter().find(|address| !served.contains(address)) {
            Some(other) => bail!(
                "LISTEN_FDS holds a socket at {other}, which is neither `listen` nor `admin_listen` of coalmine.yaml; \
                 write the same address in both places"
            ),
            None => Ok(()),
        }
    }

    /// This process's own, taken back.
    pub(super) fn own(sockets: Vec<OwnedFd>, left_behind: u64) -> Self {
        Self { listeners: sockets.into_iter().map(TcpListener::from).collect(), giver: None, left_behind }
    }

    /// Tells whoever gave them that they are served.
    pub(super) fn tell_served(&mut self) {
        let Some(mut giver) = self.giver.take() else { return };
        if let Err(error) = giver.write_all(&[SERVES]) {
            tracing::warn!(%error, "the earlier process is gone already");
        }
    }

    /// The one at this address.
    pub(super) fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let at = self.listeners.iter().position(|listener| listener.local_addr().is_ok_and(|own| own == address))?;
        Some(self.listeners.swap_remove(at))
    }
}

/// Where a process waits for the one that takes over.
#[derive(Debug)]
pub(super) struct Offer {
    door: UnixListener,
    sockets: Vec<OwnedFd>,
}

/// The process that takes over.
#[derive(Debug)]
pub(super) struct Heir {
    stream: UnixStream,
    /// `None` where it cannot be told, or is this one.
    pid: Option<Pid>,
}

fn door(folder: &Path) -> PathBuf {
    folder.join("handover.sock")
}

impl Offer {
    /// Opens the door, to processes of the same user.
    pub(super) fn open(folder: &Path, sockets: Vec<OwnedFd>) -> Result<Self> {
        let path = door(folder);
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("removing {}", path.display())),
        }
        let door = UnixListener::bind(&path).with_context(|| format!("listening at {}", path.display()))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { door, sockets })
    }

    /// Waits for an heir, and gives it the sockets.
    pub(super) async fn taken(&self) -> Heir {
        loop {
            match self.next().await {
                Ok(heir) => return heir,
                Err(error) => tracing::warn!(error = %format!("{error:#}"), "the listener was not handed over"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn next(&self) -> Result<Heir> {
        let (stream, _) = self.door.accept().await?;
        let peer = stream.peer_cred()?;
        if peer.uid() != rustix::process::geteuid().as_raw() {
            bail!("a process of another user asked for it");
        }
        let pid = peer.pid().and_then(Pid::from_raw).filter(|pid| *pid != rustix::process::getpid());
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        let sockets: Vec<_> = self.sockets.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&sockets)) {
            bail!("there are more sockets than can be sent");
        }
        sendmsg(&stream, &[IoSlice::new(HERE)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(Heir { stream, pid })
    }
}

impl Heir {
    /// Store and logs are the heir's from now on, and so many turns go on here unheard. Waits until it serves, or is
    /// gone, which it is made to be where it does neither for `within`: two processes cannot own store and logs.
    pub(super) async fn release(self, left_behind: u64, within: Duration) -> Succession {
        self.told(left_behind, within).await.unwrap_or(Succession::Gone)
    }

    async fn told(self, left_behind: u64, within: Duration) -> Result<Succession> {
        self.stream.set_nonblocking(true)?;
        let mut stream = tokio::net::UnixStream::from_std(self.stream)?;
        let mut message = vec![RELEASED];
        message.extend_from_slice(&left_behind.to_le_bytes());
        stream.write_all(&message).await?;
        let said = match timeout(within, stream.read_u8()).await {
            Ok(said) => said?,
            Err(_hangs) => {
                tracing::error!(pid = ?self.pid, "the process that took over neither serves nor ends; it is ended");
                if let Some(pid) = self.pid {
                    // one that is gone already is what is wanted
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                }
                timeout(GONE_MAX, stream.read_u8()).await??
            }
        };
        Ok(if said == SERVES { Succession::Serves } else { Succession::Gone })
    }
}

/// Takes the sockets of the process that serves from this folder, and waits until it has let go of store and logs.
///
/// # Errors
/// When none is there, or it does not answer.
pub(super) async fn take(folder: &Path) -> Result<Inherited> {
    let path = door(folder);
    tokio::task::spawn_blocking(move || {
        let stream = UnixStream::connect(&path).with_context(|| {
            format!("no process hands over at {}; start without `--take-over` where none is running", path.display())
        })?;
        let listeners = receive(&stream)?;
        tracing::info!(sockets = listeners.len(), "the listener is taken over; waiting for store and logs");
        let mut said = [0; 9];
        // a process that died has let go as well
        let left_behind = match (&stream).read_exact(&mut said) {
            Ok(()) => said[1..].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
            Err(_) => 0,
        };
        Ok(Inherited { listeners, giver: Some(stream), left_behind })
    })
    .await?
}

fn receive(stream: &UnixStream) -> Result<Vec<TcpListener>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut said = [0; 1];
    let got = recvmsg(stream, &mut [IoSliceMut::new(&mut said)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if got.bytes == 0 || &said != HERE {
        bail!("the process that serves gave no socket; see its log");
    }
    let mut listeners = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(sockets) = message {
            listeners.extend(sockets.map(TcpListener::from));
        }
    }
    Ok(listeners)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_goes_over_and_connections_wait_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let offer = Offer::open(folder.path(), vec![listener.as_fd().try_clone_to_owned().unwrap()]).unwrap();
        let path = folder.path().to_owned();
        let heir = tokio::spawn(async move { take(&path).await });
        let taken = offer.taken().await;
        drop((listener, offer));
        let _waits = std::net::TcpStream::connect(address).unwrap();
        let released = tokio::spawn(taken.release(3, HEIR_MAX));
        let mut inherited = heir.await.unwrap().unwrap();
        assert_eq!(inherited.left_behind, 3);
        inherited.tell_served();
        assert_eq!(released.await.unwrap(), Succession::Serves);
        assert!(inherited.take("127.0.0.1:1".parse().unwrap()).is_none(), "an address that was not served");
        inherited.take(address).unwrap().accept().unwrap();
        assert!(inherited.take(address).is_none());
    }

    #[tokio::test]
    async fn an_heir_that_ends_before_it_serves_leaves_the_sockets_to_their_owner() {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let own = vec![listener.as_fd().try_clone_to_owned().unwrap()];
        let offer = Offer::open(folder.path(), own).unwrap();
        let path = folder.path().to_owned();
        let heir = tokio::spawn(async move { take(&path).await });
        let released = tokio::spawn(offer.taken().await.release(0, HEIR_MAX));
        drop(heir.await.unwrap().unwrap());
        assert_eq!(released.await.unwrap(), Succession::Gone);
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let gone = Heir { stream: ours, pid: None };
        assert_eq!(gone.release(0, HEIR_MAX).await, Succession::Gone, "before it was let have store and logs");
        drop(listener);
        let mut again = Inherited::own(offer.sockets, 0);
        let _waits = std::net::TcpStream::connect(address).unwrap();
        again.take(address).unwrap().accept().unwrap();
    }

    #[tokio::test]
    async fn an_heir_that_hangs_is_ended() {
        let mut hangs = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let heir = Heir { stream: ours, pid: Pid::from_raw(i32::try_from(hangs.id()).unwrap()) };
        let released = tokio::spawn(heir.release(0, Duration::ZERO));
        let ended = tokio::task::spawn_blocking(move || hangs.wait()).await.unwrap().unwrap();
        assert!(!ended.success(), "{ended}");
        // its end closes what it held
        drop(theirs);
        assert_eq!(released.await.unwrap(), Succession::Gone);
    }

    #[tokio::test]
    async fn without_a_process_there_is_nothing_to_take() {
        let folder = tempfile::tempdir().unwrap();
        let error = take(folder.path()).await.unwrap_err().to_string();
        assert!(error.contains("start without `--take-over`"), "{error}");
    }
}

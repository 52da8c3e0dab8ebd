//! The real binary with a listener that it did not open: a service manager holds it, and clients may come before.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Ends with its owner.
struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// As `sd_listen_fds(3)` has it: the socket is descriptor 3, and the environment says for whom it is.
fn activated(folder: &Path, listener: &TcpListener) -> Command {
    let script = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve --config coalmine.yaml";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_coalmine")]).current_dir(folder);
    command.stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())));
    command.env("COALMINE_LOG", "warn").stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn write_config(folder: &Path, listen: SocketAddr) {
    let config = format!(
        "listen: {listen}\nstore: memory\nproviders:\n  one: {{ kind: openai, base_url: \"http://127.0.0.1:9/v1\" }}\nroutes:\n  r: {{ stable: {{ model: one/m }} }}\n"
    );
    std::fs::write(folder.join("coalmine.yaml"), config).unwrap();
}

/// The first line of an answer.
fn ask(mut stream: &TcpStream, path: &str) -> String {
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn a_socket_that_a_service_manager_holds_is_served_and_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    write_config(folder.path(), address);
    // whoever comes before the process waits, and is answered
    for _ in 0..2 {
        let early = TcpStream::connect(address).unwrap();
        let running = Kept(activated(folder.path(), &listener).spawn().unwrap());
        assert_eq!(ask(&early, "/healthz"), "HTTP/1.1 200 OK");
        drop(running);
    }
}

#[test]
fn a_socket_that_nobody_would_serve_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    write_config(folder.path(), other.local_addr().unwrap());
    drop(other);
    let Output { status, stderr, .. } = activated(folder.path(), &listener).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert!(!status.success() && said.contains("neither `listen` nor `admin_listen`"), "{status}: {said}");
}

//! The real binary as a child process, its folder, and its end.

use crate::client::Http;
use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use http::Method;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a job drives.
#[derive(Debug, ClapArgs)]
pub(crate) struct Under {
    /// The binary under test.
    #[arg(long, default_value = "target/release/coalmine")]
    bin: PathBuf,
}

impl Under {
    /// Where it is, from whatever folder it will be started.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        std::fs::canonicalize(&self.bin).with_context(|| format!("no binary at {}", self.bin.display()))
    }
}

/// The management token that the tests configure.
pub(crate) const TOKEN: &str = "outside-token-0123456789";

/// A running Coalmine in a folder of its own.
#[derive(Debug)]
pub(crate) struct Coalmine {
    binary: PathBuf,
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// Its port.
    pub(crate) port: u16,
    child: Option<Child>,
}

/// Any other child that dies with its owner.
#[derive(Debug)]
pub(crate) struct Kept(pub(crate) Child);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Coalmine {
    /// Writes `config` as `coalmine.yaml` into `folder` and starts the binary on `port`.
    pub(crate) async fn start(binary: &Path, folder: &Path, port: u16, config: &str) -> Result<Self> {
        std::fs::write(folder.join("coalmine.yaml"), config)?;
        let mut this = Self { binary: binary.to_owned(), folder: folder.to_owned(), port, child: None };
        this.spawn().await?;
        Ok(this)
    }

    /// Starts it again on the same folder and port.
    pub(crate) async fn spawn(&mut self) -> Result<()> {
        self.spawn_with(&[]).await
    }

    /// Another process on the same folder, which takes the listener over from this one.
    pub(crate) async fn succeed(&self) -> Result<Self> {
        let mut heir = Self { binary: self.binary.clone(), folder: self.folder.clone(), port: self.port, child: None };
        heir.spawn_with(&["--take-over"]).await?;
        Ok(heir)
    }

    /// Its number among processes.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.as_ref().map(Child::id).context("it does not run")
    }

    /// Waits until it ends by itself, with success.
    pub(crate) async fn wait(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { bail!("it does not run") };
        let status = tokio::task::spawn_blocking(move || child.wait()).await??;
        if !status.success() {
            bail!("coalmine ended with {status}; see {}", self.folder.join("coalmine.log").display());
        }
        Ok(())
    }

    async fn spawn_with(&mut self, more: &[&str]) -> Result<()> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join("coalmine.log"))?;
        let child = Command::new(&self.binary)
            .args(["serve", "--config", "coalmine.yaml"])
            .args(more)
            .current_dir(&self.folder)
            .env("COALMINE_LOG", std::env::var("COALMINE_LOG").unwrap_or_else(|_| "warn".to_owned()))
            .env("COALMINE_TOKEN", TOKEN)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", self.binary.display()))?;
        self.child = Some(child);
        self.wait_ready().await
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let http = self.http();
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            if let Ok(answer) = http.send(Method::GET, "/readyz", &[], None).await
                && answer.status.is_success()
            {
                return Ok(());
            }
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                bail!("coalmine ended with {status}; see {}", self.folder.join("coalmine.log").display());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("coalmine was not ready within 30 s; see {}", self.folder.join("coalmine.log").display())
    }

    /// SIGKILL, at once.
    pub(crate) fn kill_9(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?;
            tokio::task::spawn_blocking(move || child.wait()).await??;
        }
        Ok(())
    }

    /// Runs the CLI against this server and returns its standard output; fails on a non-zero exit.
    pub(crate) fn cli(&self, args: &[&str]) -> Result<String> {
        let output = Command::new(&self.binary)
            .args(args)
            .current_dir(&self.folder)
            .env("COALMINE_URL", format!("http://127.0.0.1:{}", self.port))
            .env("COALMINE_TOKEN", TOKEN)
            .output()?;
        if !output.status.success() {
            let said = [output.stderr, output.stdout].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
            bail!("coalmine {}: {}\n{said}", args.join(" "), output.status);
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Begins to run the CLI against this server.
    pub(crate) fn begin(&self, args: &[&str]) -> Result<Child> {
        let child = Command::new(&self.binary)
            .args(args)
            .current_dir(&self.folder)
            .env("COALMINE_URL", format!("http://127.0.0.1:{}", self.port))
            .env("COALMINE_TOKEN", TOKEN)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(child)
    }

    /// A client on it with the management token.
    pub(crate) fn http(&self) -> Http {
        Http::new(format!("http://127.0.0.1:{}", self.port)).with_token(TOKEN)
    }

    /// A client on it as an application would be: without the management token.
    pub(crate) fn app(&self) -> Http {
        Http::new(format!("http://127.0.0.1:{}", self.port))
    }
}

impl Drop for Coalmine {
    fn drop(&mut self) {
        let _ = self.kill_9();
    }
}

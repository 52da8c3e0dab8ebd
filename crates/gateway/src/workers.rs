//! The threads that requests run on. Each has a runtime of its own and keeps a connection to its end: a request, its
//! upstream's answer and its records are woken by no other thread, and wake none. Whatever is no request goes on
//! beside them, in the runtime of whoever started them.

use crate::ports::Boxed;
use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{io, thread};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch as told;
use tokio::task::{JoinError, JoinSet};

/// The most that may be asked for.
pub const WORKERS_MAX: usize = 256;

thread_local! {
    static HERE: Cell<usize> = const { Cell::new(0) };
}

/// The number of the worker whose thread this is, from 1; 0 where it is none's.
pub(crate) fn here() -> usize {
    HERE.get()
}

/// Threads that end when this is dropped, with all that still runs on them.
#[derive(Debug)]
pub struct Workers {
    beside: Handle,
    threads: Vec<Worker>,
    _stop: told::Sender<()>,
}

#[derive(Debug)]
struct Worker {
    handle: Handle,
    /// Connections that it has.
    open: Arc<AtomicUsize>,
}

/// One connection's weight on its worker, for as long as it or what came of it lives.
#[derive(Debug)]
pub(crate) struct Load(Arc<AtomicUsize>);

impl Workers {
    /// Starts so many, at most [`WORKERS_MAX`]. With none, requests run in the caller's runtime as all else does.
    ///
    /// # Errors
    /// The system has no thread or no file left for one.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn start(count: usize) -> io::Result<Self> {
        let (stop, stopped) = told::channel(());
        let begin = |number| Worker::start(number, stopped.clone());
        let threads = (1..=count.min(WORKERS_MAX)).map(begin).collect::<io::Result<_>>()?;
        Ok(Self { beside: Handle::current(), threads, _stop: stop })
    }

    /// Where everything runs that is no request.
    pub(crate) const fn beside(&self) -> &Handle {
        &self.beside
    }

    /// The runtimes of the threads, the first one's first.
    pub(crate) fn places(&self) -> Vec<Handle> {
        self.threads.iter().map(|worker| worker.handle.clone()).collect()
    }

    /// Runs something there, for a request; it ends with whoever waits for it.
    pub(crate) async fn beside_for<T: Send + 'static>(&self, work: Boxed<'static, T>) -> Result<T, JoinError> {
        if here() == 0 {
            return Ok(work.await);
        }
        let mut one = JoinSet::new();
        one.spawn_on(work, &self.beside);
        match one.join_next().await {
            Some(done) => done,
            None => std::future::pending().await,
        }
    }

    /// Gives a connection to the worker that has the fewest. Its weight goes with it, and is for `serve` to keep.
    pub(crate) fn take<F>(&self, stream: TcpStream, serve: impl FnOnce(TcpStream, Option<Load>) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(worker) = self.threads.iter().min_by_key(|worker| worker.open.load(Ordering::Relaxed)) else {
            self.beside.spawn(serve(stream, None));
            return;
        };
        let load = Load::on(worker);
        let moved = stream.into_std();
        worker.handle.spawn(async move {
            match moved.and_then(TcpStream::from_std) {
                Ok(stream) => serve(stream, Some(load)).await,
                Err(error) => tracing::warn!(%error, "a connection could not be given to its thread"),
            }
        });
    }
}

impl Worker {
    fn start(number: usize, mut stopped: told::Receiver<()>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            HERE.set(number);
            // the sender says nothing, and is dropped
            runtime.block_on(async move { while stopped.changed().await.is_ok() {} });
        })?;
        Ok(Self { handle, open: Arc::default() })
    }
}

impl Load {
    fn on(worker: &Worker) -> Self {
        worker.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&worker.open))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;
    use tokio::sync::oneshot;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (client.unwrap(), accepted.unwrap().0)
    }

    /// On which worker a new connection is served, until what is returned is dropped.
    async fn placed(workers: &Workers) -> (usize, oneshot::Sender<()>) {
        let (_client, stream) = pair().await;
        let (told, number) = oneshot::channel();
        let (go, going) = oneshot::channel::<()>();
        workers.take(stream, move |_, load| async move {
            told.send(here()).unwrap();
            let _ = going.await;
            drop(load);
        });
        (number.await.unwrap(), go)
    }

    #[tokio::test]
    async fn connections_go_to_the_thread_that_has_the_fewest() {
        let workers = Workers::start(3).unwrap();
        let mut held = Vec::new();
        for _ in 0..6 {
            held.push(placed(&workers).await);
        }
        let mut numbers: Vec<_> = held.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 1, 2, 2, 3, 3]);
        let (freed, go) = held.swap_remove(4);
        drop(go);
        while workers.threads[freed - 1].open.load(Ordering::Relaxed) == 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(placed(&workers).await.0, freed);
    }

    /// A websocket outlives the connection that it came of, and weighs on its thread like one.
    #[tokio::test]
    async fn what_came_of_a_connection_weighs_until_it_is_over() {
        let workers = Workers::start(2).unwrap();
        let (_client, stream) = pair().await;
        let (told, over) = oneshot::channel();
        let (told_load, kept) = oneshot::channel();
        workers.take(stream, move |_, load| async move {
            told_load.send(load).unwrap();
            told.send(here()).unwrap();
        });
        let (first, load) = (over.await.unwrap(), kept.await.unwrap());
        let (other, held) = placed(&workers).await;
        assert_ne!(other, first);
        assert!(load.is_some() && workers.threads.iter().all(|worker| worker.open.load(Ordering::Relaxed) == 1));
        drop(load);
        assert_eq!(placed(&workers).await.0, first, "its place is free, and the other's is taken");
        drop(held);
    }

    #[tokio::test]
    async fn without_threads_all_runs_where_they_were_started() {
        let workers = Workers::start(0).unwrap();
        assert_eq!(placed(&workers).await.0, 0);
        assert_eq!(workers.beside_for(Box::pin(async { here() })).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_is_no_request_runs_beside() {
        let workers = Arc::new(Workers::start(1).unwrap());
        let (_client, stream) = pair().await;
        let (told, found) = oneshot::channel();
        let of = Arc::clone(&workers);
        workers.take(stream, move |_, _load| async move {
            let beside = of.beside_for(Box::pin(async { here() })).await.unwrap();
            let panicked = of.beside_for(Box::pin(async { panic!("as a handler might") })).await.map(|()| 0);
            told.send((here(), beside, panicked.unwrap_err().is_panic())).unwrap();
        });
        assert_eq!(found.await.unwrap(), (1, 0, true));
    }

    #[tokio::test]
    async fn what_runs_on_them_ends_with_them() {
        let workers = Workers::start(1).unwrap();
        let (_client, stream) = pair().await;
        let (told, ended) = oneshot::channel::<()>();
        workers.take(stream, move |_, _load| async move {
            let _told = told;
            std::future::pending().await
        });
        drop(workers);
        assert!(ended.await.is_err());
    }
}

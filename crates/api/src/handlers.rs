//! The management API's handlers: thin, each one call of the control plane and a translation.

mod answer;
mod captures;
mod exposition;
mod incidents;
mod judges;
mod keys;
mod operators;
mod probe;
mod releases;
mod routes;
mod system;

pub use answer::Refusal;
pub use exposition::Exposition;
pub use operators::{Operator, Operators};

use crate::pages::Pages;
use crate::types::{SiteView, TrafficView, UpstreamView};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post, put};
use coalmine_control::Control;
use coalmine_core::id::RouteName;
use std::fmt;
use std::sync::Arc;

/// Bytes of a request body at most: a version's prompt and tools are text.
pub const BODY_BYTES_MAX: usize = 16 << 20;

/// What the handlers need.
#[derive(Clone)]
pub struct Api {
    /// The control plane.
    pub control: Arc<Control>,
    /// Who may call.
    pub operators: Arc<Operators>,
    /// The site as configured; the routes' stable versions are the control plane's.
    pub site: Arc<SiteView>,
    /// Renders what gateway and process count, without the page's end.
    pub counters: Arc<dyn Fn(Exposition) -> String + Send + Sync>,
    /// How the requests of a route fared.
    pub traffic: Arc<dyn Fn(&RouteName) -> TrafficView + Send + Sync>,
    /// The addresses of all providers.
    pub upstreams: Arc<dyn Fn() -> Vec<UpstreamView> + Send + Sync>,
    /// What the pages for people need.
    pub pages: Arc<Pages>,
    /// Whether the data plane is ready: it serves a table and does not drain.
    pub serving: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("operators", &self.operators).finish_non_exhaustive()
    }
}

/// Everything that is not the data plane: `/api`, `/ui`, `/healthz`, `/readyz`, `/metrics`.
pub fn router(api: Api) -> Router {
    let v1 = Router::new()
        .route("/status", get(system::status))
        .route("/site", get(routes::site))
        .route("/routes", get(routes::list))
        .route("/routes/{route}", get(routes::one))
        .route("/routes/{route}/probe", post(probe::probe))
        .route("/routes/{route}/captures", get(captures::list_of_route).delete(captures::delete_of_route))
        .route("/versions", get(routes::versions).post(routes::register))
        .route("/versions/{id}", get(routes::version))
        .route("/keys", get(keys::list).post(keys::create))
        .route("/keys/{name}", get(keys::one))
        .route("/keys/{name}/rotate", post(keys::rotate))
        .route("/keys/{name}/quota", put(keys::limit))
        .route("/keys/{name}/revoke", post(keys::revoke))
        .route("/incidents", get(incidents::list))
        .route("/incidents/{id}", get(incidents::one))
        .route("/incidents/{id}/ack", post(incidents::acknowledge))
        .route("/incidents/{id}/close", post(incidents::close))
        .route("/plan", post(releases::plan))
        .route("/releases", get(releases::list).post(releases::create))
        .route("/releases/{id}", get(releases::one))
        .route("/releases/{id}/labels", get(judges::labels).post(judges::label))
        .route("/releases/{id}/captures", get(captures::list).delete(captures::delete_all))
        .route("/releases/{id}/captures/pairs", get(captures::pairs))
        .route("/captures/uses", get(captures::uses))
        .route("/captures/{id}", get(captures::one).delete(captures::delete))
        .route("/judge", post(judges::judge))
        .route("/releases/{id}/explain", get(releases::explain))
        .route("/releases/{id}/journal", get(releases::journal))
        .route("/releases/{id}/evidence", get(releases::evidence))
        .route("/releases/{id}/replay", get(releases::replay))
        .route("/releases/{id}/{verb}", post(releases::command))
        .route("/rollback-all", post(releases::rollback_all));
    Router::new()
        .nest("/api/v1", v1)
        .merge(crate::pages::router())
        .route("/api/openapi.json", get(system::openapi))
        .route("/healthz", get(system::healthz))
        .route("/readyz", get(system::readyz))
        .route("/metrics", get(system::metrics))
        .fallback(system::unknown)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
}

/// Where the management API is not: says where it is.
pub fn elsewhere(admin: Option<std::net::SocketAddr>) -> Router {
    Router::new().fallback(move |uri: http::Uri| async move {
        let place = admin.map_or_else(|| "another address".to_owned(), |address| format!("http://{address}"));
        let message = format!("nothing is at {} here; the management API is at {place}", uri.path());
        Refusal::new(http::StatusCode::NOT_FOUND, "not_found", message)
    })
}

//! Client keys: make, list, rotate, bound, revoke. A secret leaves by one answer and is kept by nobody.

use super::Api;
use super::answer::Refusal;
use super::operators::Operator;
use crate::types::{IssuedView, KeyView, NewKeyBody, QuotaView, RotateBody};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use coalmine_control::ControlError;
use coalmine_control::keys::{Issued, NewKey};
use coalmine_core::id::{CustomerId, KeyName, RouteName};
use coalmine_core::key::is_key_name;
use coalmine_core::time::SpanMs;
use http::{HeaderValue, StatusCode, header};
use std::collections::BTreeSet;

/// So many customers are named where one is not known.
const CUSTOMERS_SHOWN: usize = 5;
/// As much of a name that is not known is told.
const CUSTOMER_SHOWN_MAX: usize = 80;

pub(super) async fn list(State(api): State<Api>, _: Operator) -> Json<Vec<KeyView>> {
    let now = api.control.now();
    Json(api.control.keys().iter().map(|status| KeyView::of(status, now)).collect())
}

pub(super) async fn one(
    State(api): State<Api>,
    _: Operator,
    Path(name): Path<String>,
) -> Result<Json<KeyView>, Refusal> {
    Ok(Json(view(&api, &KeyName(name))?))
}

pub(super) async fn create(
    State(api): State<Api>,
    Operator(actor): Operator,
    body: Result<Json<NewKeyBody>, JsonRejection>,
) -> Result<Response, Refusal> {
    let Json(body) = body?;
    let invalid = |message: String| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message);
    if !is_key_name(&body.name) {
        let message = "a key is called by 1 to 128 letters, digits, `.`, `_`, `-`, such as acme-prod";
        return Err(invalid(message.to_owned()));
    }
    if body.routes.as_ref().is_some_and(Vec::is_empty) {
        return Err(invalid("the list of routes is empty; leave it out for all routes".to_owned()));
    }
    if body.expires_in_ms == Some(0) {
        return Err(invalid("the key would have expired when it is made; give it a longer life".to_owned()));
    }
    if let Some(customer) = body.customer.as_deref().filter(|_| !body.unlisted_customer) {
        must_be_listed(customer, &api.site.customers).map_err(invalid)?;
    }
    let quota = checked(body.quota)?;
    let new = NewKey {
        name: KeyName(body.name),
        customer: body.customer.map(CustomerId),
        routes: body.routes.map(|routes| routes.into_iter().map(RouteName).collect()),
        expires_at: body.expires_in_ms.map(|ms| api.control.now() + SpanMs(ms)),
        quota: quota.into(),
    };
    let issued = api.control.create_key(new, actor).await?;
    shown_once(&api, StatusCode::CREATED, &issued)
}

pub(super) async fn rotate(
    State(api): State<Api>,
    Operator(actor): Operator,
    Path(name): Path<String>,
    body: Result<Json<RotateBody>, JsonRejection>,
) -> Result<Response, Refusal> {
    let Json(RotateBody { grace_ms }) = body?;
    let issued = api.control.rotate_key(&KeyName(name), SpanMs(grace_ms), &actor).await?;
    shown_once(&api, StatusCode::OK, &issued)
}

pub(super) async fn limit(
    State(api): State<Api>,
    Operator(actor): Operator,
    Path(name): Path<String>,
    body: Result<Json<QuotaView>, JsonRejection>,
) -> Result<Json<KeyView>, Refusal> {
    let Json(quota) = body?;
    let name = KeyName(name);
    api.control.limit_key(&name, checked(quota)?.into(), &actor).await?;
    Ok(Json(view(&api, &name)?))
}

pub(super) async fn revoke(
    State(api): State<Api>,
    Operator(actor): Operator,
    Path(name): Path<String>,
) -> Result<Json<KeyView>, Refusal> {
    let name = KeyName(name);
    api.control.revoke_key(&name, actor).await?;
    Ok(Json(view(&api, &name)?))
}

/// A misspelt customer has no quota and stands in no cohort, and nobody would notice. Where the configuration names no
/// customer at all, there is nothing to miss.
fn must_be_listed(customer: &str, listed: &BTreeSet<CustomerId>) -> Result<(), String> {
    if listed.is_empty() || listed.iter().any(|known| known.0 == customer) {
        return Ok(());
    }
    let mut near: Vec<(f64, &str)> =
        listed.iter().map(|known| (strsim::jaro_winkler(customer, &known.0), known.0.as_str())).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    let shown: Vec<&str> = near.iter().take(CUSTOMERS_SHOWN).map(|(_, known)| *known).collect();
    let more = match listed.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let written: String = customer.chars().filter(|c| !c.is_control()).take(CUSTOMER_SHOWN_MAX).collect();
    Err(format!(
        "no customer `{written}` stands under `customers` in coalmine.yaml, so none of their quotas would bound this key; \
         the nearest are {}{more}. Correct the name, add it there, or say that it is meant with `unlisted_customer` \
         (--unlisted-customer)",
        shown.join(", ")
    ))
}

/// Money is a number from 0 on.
fn checked(quota: QuotaView) -> Result<QuotaView, Refusal> {
    let good = |usd: &f64| usd.is_finite() && *usd >= 0.0;
    if [quota.usd_per_day, quota.usd_per_month].iter().flatten().all(good) {
        return Ok(quota);
    }
    Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "a budget is a number of dollars from 0 on"))
}

fn view(api: &Api, name: &KeyName) -> Result<KeyView, Refusal> {
    let now = api.control.now();
    let keys = api.control.keys();
    let found = keys.iter().find(|status| status.key.name == *name);
    Ok(KeyView::of(found.ok_or_else(|| ControlError::UnknownKey(name.clone()))?, now))
}

fn shown_once(api: &Api, status: StatusCode, issued: &Issued) -> Result<Response, Refusal> {
    let issued = IssuedView { key: view(api, &issued.key.name)?, secret: issued.secret.expose().to_owned() };
    let mut response = (status, Json(issued)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_that_is_not_listed_is_told_with_the_nearest() {
        let listed = |names: &[&str]| names.iter().map(|name| CustomerId((*name).to_owned())).collect();
        assert_eq!(must_be_listed("acme", &listed(&[])), Ok(()), "nobody is named, so nothing is missed");
        assert_eq!(must_be_listed("acme", &listed(&["acme", "globex"])), Ok(()));
        let told = must_be_listed("acmee", &listed(&["globex", "acme"])).unwrap_err();
        assert!(told.starts_with("no customer `acmee` stands under `customers`"), "{told}");
        assert!(told.contains("the nearest are acme, globex. Correct the name"), "{told}");
        let many: Vec<String> = (0..40).map(|i| format!("customer-{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let told = must_be_listed("customer-7x", &listed(&many)).unwrap_err();
        assert!(told.contains("the nearest are customer-7, ") && told.contains(" and 35 more."), "{told}");
        let long = must_be_listed(&"\n".repeat(9_000), &listed(&["acme"])).unwrap_err();
        assert!(long.len() < 500 && !long.contains('\n'), "{long}");
        assert!(must_be_listed(&"x".repeat(9_000), &listed(&["acme"])).unwrap_err().len() < 500);
    }
}

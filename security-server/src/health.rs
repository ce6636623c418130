//! How the server is, for `/health` and for the metrics that are measured rather than counted.
//!
//! Ready means that an exchange can succeed in both roles as far as this server is concerned: a valid global configuration, an
//! authentication key and at least one signing key with good OCSP answers, a message log that takes records. Peers and information
//! systems are not asked. Neither answer nor metrics hold paths, queries, user ids or bodies.

use host::health::Health;
use pki::ocsp::Response;
use proto::time::UnixTime;
use serde_json::{Value, json};
use signer::OwnKeys;

use crate::context::Context;

/// The present state.
pub fn check(ctx: &Context) -> Health {
    let now = ctx.clock.now();
    let (configuration, conf_ready) = configuration(ctx, now);
    let (keys, keys_ready) = keys(&ctx.signer.own_keys(), now);
    let log = ctx.log.check_ready(now);
    let details = json!({
        "server": ctx.serverconf.load().server_id().to_string(),
        "global_configuration": configuration,
        "keys": keys,
        "message_log": { "ready": log.is_ok(), "reason": log.as_ref().err().map(ToString::to_string) },
        "exchanges": { "client_proxy": ctx.client_slots.in_use(), "server_proxy": ctx.server_slots.in_use() },
        "stopping": ctx.shutdown.stopping(),
    });
    Health { ready: conf_ready && keys_ready && log.is_ok() && !ctx.shutdown.stopping(), details }
}

fn configuration(ctx: &Context, now: UnixTime) -> (Value, bool) {
    let conf = ctx.globalconf.load();
    let Some(conf) = conf.as_ref() else {
        return (json!({ "ready": false, "reason": "no global configuration was verified yet" }), false);
    };
    let valid = conf.check_valid(now);
    let details = json!({
        "ready": valid.is_ok(),
        "reason": valid.as_ref().err().map(ToString::to_string),
        "instance": conf.instance(),
        "version": conf.version(),
        "expires": conf.expires().map(UnixTime::to_iso8601),
    });
    (details, valid.is_ok())
}

fn keys(own: &OwnKeys, now: UnixTime) -> (Value, bool) {
    let auth = own.auth.as_ref().filter(|auth| now <= auth.until);
    let mut signing: Vec<_> = own
        .signing
        .values()
        .map(|key| (key.member.to_string(), key.until))
        .filter(|(_, until)| now <= *until)
        .map(|(member, until)| json!({ "member": member, "usable_until": until.to_iso8601() }))
        .collect();
    signing.sort_by_key(ToString::to_string);
    let ready = auth.is_some() && !signing.is_empty();
    let details = json!({
        "ready": ready,
        "authentication": auth.map(|auth| json!({ "usable_until": auth.until.to_iso8601() })),
        "signing": signing,
    });
    (details, ready)
}

/// Sets the gauges; called every few seconds.
pub fn measure(ctx: &Context) {
    let now = ctx.clock.now();
    let left = |until: UnixTime| (until.0 - now.0) as f64 / 1000.0;
    if let Some(conf) = ctx.globalconf.load().as_ref()
        && let Some(expires) = conf.expires()
    {
        metrics::gauge!("causeway_globalconf_seconds_left").set(left(expires));
    }
    let own = ctx.signer.own_keys();
    let auth = own.auth.as_ref().map_or(0.0, |auth| left(auth.until).max(0.0));
    metrics::gauge!("causeway_authentication_key_seconds_left").set(auth);
    let signing = own.signing.values().map(|key| left(key.until).max(0.0)).reduce(f64::min);
    metrics::gauge!("causeway_signing_keys_seconds_left").set(signing.unwrap_or(0.0));
    let answers = own.ocsp_by_sha1.values().filter_map(|der| Response::parse(der).ok());
    let oldest = answers.map(|answer| now.since(answer.this_update()).as_secs_f64()).reduce(f64::max);
    metrics::gauge!("causeway_ocsp_oldest_seconds").set(oldest.unwrap_or(0.0));
    metrics::gauge!("causeway_exchanges_under_way", "side" => "client").set(ctx.client_slots.in_use() as f64);
    metrics::gauge!("causeway_exchanges_under_way", "side" => "server").set(ctx.server_slots.in_use() as f64);
    metrics::gauge!("causeway_ready").set(if check(ctx).ready { 1.0 } else { 0.0 });
}

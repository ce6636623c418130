//! How the server is, for `/health` and for the metrics that are measured rather than counted.
//!
//! Ready means that an exchange can succeed in both roles as far as this server is concerned: a valid global configuration, an
//! authentication key and at least one signing key with good OCSP answers, a message log that takes records. Peers and information
//! systems are not asked. Neither answer nor metrics hold paths, queries, user ids or bodies.

use std::sync::Arc;

use host::health::Health;
use pki::ocsp::Response;
use proto::time::UnixTime;
use serde_json::{Value, json};
use signer::{OwnKeys, TokenService};

use crate::configuration_client::ConfigurationClient;
use crate::context::Context;
use crate::foundation::Foundation;
use crate::message_log::archive::keys::Ending;

/// What is looked at. Cheap to clone.
#[derive(Clone)]
pub struct Watched {
    /// What exchanges read.
    pub ctx: Context,
    /// The configuration's download.
    pub configuration: Arc<ConfigurationClient>,
    /// The token.
    pub signer: Arc<dyn TokenService>,
}

/// How a server is that has no relay yet.
pub fn uninitialised(foundation: &Foundation) -> Health {
    let there = [
        ("anchor", foundation.settings.configuration.anchor_file.exists()),
        ("token", foundation.token.get().is_some()),
        ("identity", foundation.server_id().is_some()),
    ];
    let lacks: Vec<_> = there.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
    Health { ready: false, details: json!({ "initialised": lacks.is_empty(), "lacks": lacks }) }
}

impl Watched {
    /// What is there to look at while the relay runs.
    pub fn of(foundation: &Foundation) -> Option<Self> {
        Some(Self {
            ctx: foundation.relay()?.clone(),
            configuration: Arc::clone(&foundation.configuration),
            signer: Arc::clone(foundation.token.get()?),
        })
    }

    /// A message could be exchanged now.
    pub fn is_ready(&self) -> bool {
        self.check().ready
    }

    /// The present state.
    pub fn check(&self) -> Health {
        let ctx = &self.ctx;
        let now = ctx.clock.now();
        let (configuration, conf_ready) = self.configuration(now);
        let (keys, keys_ready) = keys(&ctx.signer.own_keys(), self.signer.is_logged_in(), now);
        let log = ctx.log.check_ready(now);
        let details = json!({
            "server": ctx.serverconf.load().server_id().to_string(),
            "global_configuration": configuration,
            "keys": keys,
            "message_log": {
                "ready": log.is_ok(),
                "reason": log.as_ref().err().map(ToString::to_string),
                "records": ctx.log.records(),
                "without_timestamp": ctx.log.unstamped(),
                "timestamp_alarm": ctx.log.timestamp_alarm(),
                "seconds_until_refusal": ctx.log.timestamping_countdown(now).map(|left| left.as_secs()),
                "lagging_head_holders": lagging(ctx.log.lagging_holders()),
                "archive_keys_ending": ending(ctx.log.ending_archive_keys()),
            },
            "exchanges": { "client_proxy": ctx.client_slots.in_use(), "server_proxy": ctx.server_slots.in_use() },
            "stopping": ctx.shutdown.stopping(),
        });
        Health { ready: conf_ready && keys_ready && log.is_ok() && !ctx.shutdown.stopping(), details }
    }

    fn configuration(&self, now: UnixTime) -> (Value, bool) {
        let status = self.configuration.status();
        let conf = self.ctx.globalconf.load();
        let conf = conf.as_ref().as_ref();
        let reason = match conf.map(|conf| conf.check_valid(now)) {
            None => Some("no global configuration was verified yet".to_owned()),
            Some(Err(error)) => Some(error.to_string()),
            Some(Ok(())) => None,
        };
        let ready = reason.is_none();
        let details = json!({
            "ready": ready,
            "reason": reason,
            "instance": conf.map(|conf| conf.instance()),
            "version": conf.map(|conf| conf.version()),
            "expires": conf.and_then(|conf| conf.expires()).map(UnixTime::to_iso8601),
            "downloaded": status.last_success.map(UnixTime::to_iso8601),
            "source": status.source,
            "last_error": status.last_error.map(|error| error.reason),
        });
        (details, ready)
    }

    /// Sets the gauges; called every few seconds.
    pub fn measure(&self) {
        let now = self.ctx.clock.now();
        let age = |of: UnixTime| now.since(of).as_secs_f64();
        if let Some(at) = self.configuration.status().last_success {
            metrics::gauge!("causeway_globalconf_age_seconds").set(age(at));
        }
        let own = self.ctx.signer.own_keys();
        let auth = own.auth.as_ref().map_or(0.0, |auth| auth.until.since(now).as_secs_f64());
        metrics::gauge!("causeway_authentication_key_seconds_left").set(auth);
        let signing = own.signing.values().map(|key| key.until.since(now).as_secs_f64()).reduce(f64::min);
        metrics::gauge!("causeway_signing_keys_seconds_left").set(signing.unwrap_or(0.0));
        let answers = own.ocsp_by_sha1.values().filter_map(|der| Response::parse(der).ok());
        let oldest = answers.map(|answer| age(answer.this_update())).reduce(f64::max);
        metrics::gauge!("causeway_ocsp_oldest_age_seconds").set(oldest.unwrap_or(0.0));
        metrics::gauge!("causeway_signer_queue").set(self.signer.queue_length() as f64);
        for (side, slots) in [("client", &self.ctx.client_slots), ("server", &self.ctx.server_slots)] {
            metrics::gauge!("causeway_exchanges_under_way", "side" => side).set(slots.in_use() as f64);
        }
        metrics::gauge!("causeway_ready").set(if self.is_ready() { 1.0 } else { 0.0 });
    }
}
fn lagging(holders: Vec<(String, UnixTime)>) -> Value {
    let shown = |(name, since): (String, UnixTime)| json!({ "holder": name, "since": since.to_iso8601() });
    holders.into_iter().map(shown).collect()
}

fn ending(keys: Vec<Ending>) -> Value {
    let shown = |Ending { whose, key, at, reason }: Ending| {
        let at = at.map(UnixTime::to_iso8601);
        json!({ "archives_of": whose, "key": key, "ends": at, "reason": reason })
    };
    keys.into_iter().map(shown).collect()
}

fn keys(own: &OwnKeys, logged_in: bool, now: UnixTime) -> (Value, bool) {
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
        "token_logged_in": logged_in,
        "authentication": auth.map(|auth| json!({ "usable_until": auth.until.to_iso8601() })),
        "signing": signing,
    });
    (details, ready)
}

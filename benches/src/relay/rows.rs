//! What is measured: the rows, in the order in which they run, and the requests behind them.

use std::time::Duration;

use hyper::Method;
use proto::id::ServerId;
use sandbox::information_system::{Call, Kind};
use sandbox::{parties, services};
use security_server::config::{File, TlsEdge};

use crate::load::{Content, Length, Target};

/// Connections of an open loop.
pub(super) const OPEN_CONNECTIONS: usize = 256;
/// Larger bodies are made while they are sent.
const KEPT_BYTES: u64 = 1 << 20;
/// Bodies of up to so many come back while they come.
const SMALL_BYTES: u64 = 64 << 10;
/// Of an attachment.
const ATTACHMENT_BYTES: usize = 1 << 10;

/// How much of it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Extent {
    /// That it runs, not how fast.
    Smoke,
    Quick,
    Usual,
    Full,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// REST without a body, either way.
    Nothing,
    /// REST, so many bytes there and back. Large ones come back when all of them have arrived, since nginx sends no more of a request
    /// whose answer has begun.
    Echo(u64),
    Soap,
    SoapWithAttachment,
}

/// How the information system comes to its security server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    Kept,
    /// A new connection for every request.
    New,
    Tls,
    TlsNew,
}

impl Client {
    pub(super) fn is_new(self) -> bool {
        matches!(self, Self::New | Self::TlsNew)
    }
    pub(super) fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::TlsNew)
    }
}

/// How both security servers are set; they are started anew for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setup {
    /// As they are delivered: TLS 1.3 between them, connections kept.
    Own,
    /// Each exchange has a new connection between them.
    NewConnections,
    /// The consumer's offers nothing but the CBC suites of TLS 1.2, as stock servers do, and connections are not kept, as is the default
    /// with those.
    Cbc,
    /// The same, and the provider's keeps connections (server-support-clients-pooled-connections).
    CbcKept,
    /// Bodies above the bound of the log pass (truncated-body-allowed): the log has their digests.
    LargeBodies,
    /// Bodies of up to a GiB are in the log. Nothing is archived, so that what is written to files is the bodies' own.
    LoggedBodies,
}

impl Setup {
    /// The settings of the consumer's or the provider's security server.
    pub(super) fn apply(self, server: &ServerId, settings: &mut File) {
        let usual = File::default();
        settings.proxy.tls_edge = match self {
            Self::Cbc | Self::CbcKept if *server == parties::consumer_server() => TlsEdge::CbcOnly,
            _ => TlsEdge::Auto,
        };
        settings.proxy.pool_enable_connection_reuse = self != Self::NewConnections;
        settings.proxy.server_support_clients_pooled_connections = self == Self::CbcKept;
        settings.message_log.truncated_body_allowed = self == Self::LargeBodies;
        (settings.message_log.max_loggable_message_body_size, settings.message_log.archive_interval) =
            match self {
                Self::LoggedBodies => (1 << 30, 0),
                _ => (usual.message_log.max_loggable_message_body_size, usual.message_log.archive_interval),
            };
    }

    /// The suites between the servers are those of stock ones.
    pub(super) fn is_cbc(self) -> bool {
        matches!(self, Self::Cbc | Self::CbcKept)
    }
}

/// One row to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) asked: Asked,
    pub(super) concurrency: usize,
    pub(super) client: Client,
    pub(super) setup: Setup,
    /// An open loop, at half the highest rate of this run.
    pub(super) half_rate: bool,
    /// Goals are about it: it has more windows.
    pub(super) for_goals: bool,
    /// The least run that has it, smoke runs aside.
    least: Extent,
    /// A smoke run has it: each kind of row once, where it is cheap.
    in_smoke: bool,
}

const fn row(name: &'static str, asked: Asked, concurrency: usize, least: Extent) -> Spec {
    let (client, setup) = (Client::Kept, Setup::Own);
    let (half_rate, for_goals, in_smoke) = (false, false, false);
    Spec { name, asked, concurrency, client, setup, half_rate, for_goals, least, in_smoke }
}

/// In smoke runs too.
const fn smoked(spec: Spec) -> Spec {
    Spec { in_smoke: true, ..spec }
}

/// REST without a body, 64 at once, in another way than usual.
const fn way(name: &'static str, client: Client, setup: Setup, least: Extent) -> Spec {
    Spec { client, setup, ..row(name, Asked::Nothing, 64, least) }
}

pub(super) const SMALL: &str = "REST without body";
pub(super) const HALF_RATE: &str = "REST, half the rate";
pub(super) const LARGE: &str = "REST 100 MiB";
pub(super) const LARGEST: &str = "REST 10 GiB";

/// One at a time comes first, so that no archive of what many left is made beside it; the headline is the next.
pub(super) const ROWS: [Spec; 21] = [
    Spec { for_goals: true, ..row(SMALL, Asked::Nothing, 1, Extent::Quick) },
    HEADLINE,
    row(SMALL, Asked::Nothing, 16, Extent::Usual),
    row(SMALL, Asked::Nothing, 256, Extent::Quick),
    smoked(Spec {
        half_rate: true,
        for_goals: true,
        ..row(HALF_RATE, Asked::Nothing, OPEN_CONNECTIONS, Extent::Quick)
    }),
    row("REST 1 KiB", Asked::Echo(1 << 10), 64, Extent::Usual),
    smoked(row("REST 10 KiB", Asked::Echo(10 << 10), 64, Extent::Quick)),
    smoked(row("SOAP 1 KiB", Asked::Soap, 64, Extent::Quick)),
    row("SOAP 1 KiB", Asked::Soap, 1, Extent::Full),
    smoked(row("SOAP with attachment", Asked::SoapWithAttachment, 64, Extent::Usual)),
    way("REST, client new", Client::New, Setup::Own, Extent::Usual),
    smoked(way("REST, client TLS", Client::Tls, Setup::Own, Extent::Quick)),
    smoked(way("REST, client TLS new", Client::TlsNew, Setup::Own, Extent::Usual)),
    smoked(row("REST 1 MiB", Asked::Echo(1 << 20), 16, Extent::Quick)),
    smoked(way("REST, servers new", Client::Kept, Setup::NewConnections, Extent::Usual)),
    smoked(way("REST, CBC edge new", Client::Kept, Setup::Cbc, Extent::Quick)),
    way("REST, CBC edge kept", Client::Kept, Setup::CbcKept, Extent::Usual),
    Spec { setup: Setup::LargeBodies, ..row(LARGE, Asked::Echo(100 << 20), 4, Extent::Quick) },
    Spec { setup: Setup::LargeBodies, ..row(LARGE, Asked::Echo(100 << 20), 1, Extent::Full) },
    Spec {
        setup: Setup::LoggedBodies,
        ..row("REST 100 MiB, logged", Asked::Echo(100 << 20), 4, Extent::Usual)
    },
    Spec { setup: Setup::LargeBodies, ..row(LARGEST, Asked::Echo(10 << 30), 1, Extent::Full) },
];

/// The row that is followed from change to change.
pub(super) const HEADLINE: Spec =
    smoked(Spec { for_goals: true, ..row(SMALL, Asked::Nothing, 64, Extent::Quick) });

impl Spec {
    /// Small requests, many at once, in the same way.
    pub(super) fn small(&self) -> Self {
        Self { asked: HEADLINE.asked, concurrency: HEADLINE.concurrency, ..*self }
    }

    /// A run of this extent has it.
    pub(super) fn is_in(&self, extent: Extent) -> bool {
        match extent {
            Extent::Smoke => self.in_smoke,
            _ => self.least <= extent,
        }
    }

    /// Small, without TLS or new connections: what "highest rate" is about.
    pub(super) fn is_plain(&self) -> bool {
        let usual = self.client == Client::Kept && self.setup == Setup::Own;
        usual && self.asked == Asked::Nothing && !self.half_rate
    }

    /// Its body passes in pieces, and takes seconds: exchanges are counted, not a time.
    pub(super) fn is_large(&self) -> bool {
        matches!(self.asked, Asked::Echo(bytes) if bytes > KEPT_BYTES)
    }

    /// Bytes of both bodies of an exchange.
    pub(super) fn body_bytes(&self) -> u64 {
        match self.asked {
            Asked::Echo(bytes) => 2 * bytes,
            Asked::Nothing | Asked::Soap | Asked::SoapWithAttachment => 0,
        }
    }

    /// Windows of each side, and how long each is.
    pub(super) fn windows(&self, extent: Extent) -> (u32, Length) {
        let time = |warm_up, measure| Length::Time {
            warm_up: Duration::from_millis(warm_up),
            measure: Duration::from_millis(measure),
        };
        match (extent, self.is_large(), self.for_goals) {
            (Extent::Smoke | Extent::Quick, true, _) => (1, Length::Count { each: 1 }),
            (Extent::Usual, true, _) => (1, Length::Count { each: 2 }),
            (Extent::Full, true, _) if self.name == LARGEST => (1, Length::Count { each: 1 }),
            (Extent::Full, true, _) => (3, Length::Count { each: 2 }),
            (Extent::Smoke, false, _) => (1, time(100, 500)),
            (Extent::Quick, false, false) => (2, time(300, 1000)),
            (Extent::Quick, false, true) => (3, time(300, 1700)),
            (Extent::Usual, false, false) => (3, time(300, 1600)),
            (Extent::Usual, false, true) => (4, time(300, 2200)),
            (Extent::Full, false, false) => (4, time(500, 3000)),
            (Extent::Full, false, true) => (6, time(500, 3000)),
        }
    }

    /// Longest that one exchange may take.
    pub(super) fn patience(&self) -> Duration {
        match self.asked {
            Asked::Echo(bytes) if bytes > 1 << 30 => Duration::from_secs(1200),
            Asked::Echo(bytes) if bytes > KEPT_BYTES => Duration::from_secs(180),
            _ => Duration::from_secs(45),
        }
    }

    /// The request as an information system sends it to its security server at `address`.
    pub(super) fn through_us(&self, address: String) -> Target {
        let (school, probe) = (parties::school(), parties::probe());
        let call = match self.asked {
            Asked::Nothing => Call::rest(&school, &probe, Method::GET, "/size/0", None),
            Asked::Echo(_) => {
                let typed = Some(("application/octet-stream", bytes::Bytes::new()));
                Call::rest(&school, &probe, Method::POST, self.post(), typed)
            }
            Asked::Soap | Asked::SoapWithAttachment => self.soap(),
        };
        let path = call.target.clone();
        self.target(address, path, call, true)
    }

    /// The request as the provider's security server sends it to the service at `address`.
    pub(super) fn straight(&self, address: String, tls: bool) -> Target {
        let rest = |method, path: &str| {
            let call = Call::rest(&parties::school(), &parties::probe(), method, "", None);
            let headers = vec![("Content-Type", "application/octet-stream".to_owned())];
            (Call { headers, ..call }, format!("{}{path}", services::probe::BASE))
        };
        let (call, path) = match self.asked {
            Asked::Nothing => rest(Method::GET, "/size/0"),
            Asked::Echo(_) => rest(Method::POST, self.post()),
            Asked::Soap | Asked::SoapWithAttachment => (self.soap(), services::soap::BASE.to_owned()),
        };
        Target { tls, ..self.target(address, path, call, false) }
    }

    fn post(&self) -> &'static str {
        if self.body_bytes() > 2 * SMALL_BYTES { "/back" } else { "/echo" }
    }

    fn target(&self, address: String, path: String, call: Call, to_server: bool) -> Target {
        let (content, answer_bytes) = match self.asked {
            Asked::Nothing => (Content::Bytes(bytes::Bytes::new()), 0),
            Asked::Echo(length) if length <= KEPT_BYTES => {
                (Content::Bytes(vec![b'x'; length as usize].into()), length)
            }
            Asked::Echo(length) => (Content::Made(length), length),
            Asked::Soap | Asked::SoapWithAttachment => (numbered(&call), 500),
        };
        Target {
            address,
            tls: to_server && self.client.is_tls(),
            method: call.method,
            path,
            headers: call.headers,
            with_ids: to_server && call.kind == Kind::Rest,
            content,
            answer_bytes,
        }
    }

    /// A comment fills the request up to a kilobyte.
    fn soap(&self) -> Call {
        let content = format!(
            r#"<residentDetails xmlns="{}"><code>M-2019-0502</code><!--{}--></residentDetails>"#,
            services::soap::NAMESPACE,
            "x".repeat(200)
        );
        let (school, service) = (parties::school(), parties::resident_details());
        match self.asked {
            Asked::SoapWithAttachment => {
                let attachment = ("application/octet-stream", [b'x'; ATTACHMENT_BYTES].as_slice());
                Call::soap_with_attachment(&school, &service, &content, attachment)
            }
            Asked::Soap | Asked::Nothing | Asked::Echo(_) => Call::soap(&school, &service, &content),
        }
    }
}

/// The last digits of the message id are those that differ.
fn numbered(call: &Call) -> Content {
    let marked = format!("{}</", call.message_id);
    let found = call.body.windows(marked.len()).position(|window| window == marked.as_bytes());
    match found {
        Some(at) => Content::Numbered(call.body.clone(), at + call.message_id.len() - 12),
        None => Content::Bytes(call.body.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soap_requests_differ_in_their_id() {
        for asked in [Asked::Soap, Asked::SoapWithAttachment] {
            let target = row("SOAP", asked, 1, Extent::Smoke).through_us(String::new());
            let Content::Numbered(body, at) = target.content else { panic!("{asked:?}") };
            assert_eq!(&body[at + 12..at + 14], b"</", "the end of the id");
        }
    }

    #[test]
    fn setups_differ_where_they_say() {
        let of = |setup: Setup, server: ServerId| {
            let mut settings = File::default();
            setup.apply(&server, &mut settings);
            settings
        };
        let consumer = of(Setup::Cbc, parties::consumer_server()).proxy;
        assert_eq!(consumer.tls_edge, TlsEdge::CbcOnly);
        assert_eq!(of(Setup::Cbc, parties::provider_server()).proxy.tls_edge, TlsEdge::Auto);
        assert!(!of(Setup::NewConnections, parties::consumer_server()).proxy.pool_enable_connection_reuse);
        assert_eq!(of(Setup::Own, parties::consumer_server()), File::default());
    }
}

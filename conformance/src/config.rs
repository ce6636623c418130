//! What the runner must be told: where the servers are, and which identifiers to use.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

/// The file given with `--config`; arguments of the same names stand above it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct File {
    /// Where the consumer's server takes requests over HTTP: `http://ss1.example.org:8080`.
    pub consumer: String,
    /// Who asks: a subsystem on the consumer's server, `INSTANCE/CLASS/MEMBER/SUBSYSTEM`, with a right to the services.
    pub client: String,
    /// Somebody else on the consumer's server, who has no right to anything; cases that need them are skipped without.
    pub stranger: Option<String>,
    /// Whose services are called: a subsystem on the provider's server.
    pub provider: String,
    /// The provider's server: `INSTANCE/CLASS/MEMBER/SERVER`.
    pub provider_server: String,
    /// Where the runner listens for the provider's server.
    pub listen: Option<SocketAddr>,
    /// As the provider's server reaches it, when that is another address: `http://10.0.0.7:7001`.
    pub listen_url: Option<String>,
    /// Cases that are known to come out otherwise on these servers, with the reason.
    pub known: Vec<Known>,
}

/// A difference that is known.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Known {
    /// Id of the case.
    pub case: String,
    /// Why.
    pub reason: String,
}

impl File {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or says something unknown.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Everything that is needed is there.
    ///
    /// # Errors
    /// Which is not.
    pub fn check(self) -> anyhow::Result<Settings> {
        let codes = |key: &str, text: &str, counts: &[usize]| -> anyhow::Result<Id> {
            let codes: Vec<String> = text.split(['/', ':']).map(str::to_owned).collect();
            if !counts.contains(&codes.len()) || codes.iter().any(String::is_empty) {
                bail!("{key} = {text:?}: that is no identifier such as INSTANCE/CLASS/MEMBER/CODE");
            }
            Ok(Id(codes))
        };
        let consumer = self.consumer.trim_end_matches('/');
        let Some(authority) = consumer.strip_prefix("http://").filter(|rest| !rest.contains('/')) else {
            bail!("consumer = {consumer:?}: it must be http://HOST:PORT");
        };
        let authority =
            if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        let listen = self.listen.context("listen: an address such as 0.0.0.0:7001 is missing")?;
        Ok(Settings {
            consumer: authority,
            client: codes("client", &self.client, &[4])?,
            stranger: self.stranger.as_deref().map(|text| codes("stranger", text, &[3, 4])).transpose()?,
            provider: codes("provider", &self.provider, &[4])?,
            provider_server: codes("provider-server", &self.provider_server, &[4])?,
            listen,
            listen_url: self.listen_url.unwrap_or_else(|| format!("http://{listen}")),
            known: self.known,
        })
    }
}

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// HOST:PORT of the consumer's server.
    pub consumer: String,
    /// Who asks.
    pub client: Id,
    /// Who has no rights.
    pub stranger: Option<Id>,
    /// Whose services.
    pub provider: Id,
    /// On which server.
    pub provider_server: Id,
    /// Where the runner listens.
    pub listen: SocketAddr,
    /// As the provider's server reaches it.
    pub listen_url: String,
    /// Known differences.
    pub known: Vec<Known>,
}

/// The codes of an identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id(pub Vec<String>);

impl Id {
    /// Joined by slashes.
    pub fn path(&self) -> String {
        self.0.join("/")
    }
    /// As children of an identifier element, with prefix `id`.
    pub fn xml(&self) -> String {
        let names = ["xRoadInstance", "memberClass", "memberCode", "subsystemCode"];
        self.0.iter().zip(names).map(|(code, name)| format!("<id:{name}>{code}</id:{name}>")).collect()
    }
    /// `MEMBER` or `SUBSYSTEM`.
    pub fn kind(&self) -> &'static str {
        if self.0.len() == 3 { "MEMBER" } else { "SUBSYSTEM" }
    }
    /// As parameters of a query.
    pub fn query(&self) -> String {
        let names = ["xRoadInstance", "memberClass", "memberCode", "subsystemCode"];
        self.0.iter().zip(names).map(|(code, name)| format!("&{name}={code}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let whole = "consumer = 'http://ss1:8080/'\nclient = 'A/B/C/D'\nprovider = 'A:B:E:F'\n\
            provider-server = 'A/B/E/ss2'\nlisten = '127.0.0.1:7001'\n";
        let read = |text: &str| toml::from_str::<File>(text).unwrap().check();
        let settings = read(whole).unwrap();
        assert_eq!(
            (settings.consumer.as_str(), settings.provider.path()),
            ("ss1:8080", "A/B/E/F".to_owned())
        );
        assert_eq!(settings.listen_url, "http://127.0.0.1:7001");
        for (line, wanted) in [
            ("consumer = 'http://ss1:8080/'\n", "consumer"),
            ("client = 'A/B/C/D'\n", "client"),
            ("provider = 'A:B:E:F'\n", "provider"),
            ("listen = '127.0.0.1:7001'\n", "listen"),
        ] {
            let error = read(&whole.replace(line, "")).unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{error}");
        }
    }
}

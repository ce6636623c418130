//! A registry as large as one likes: members that are registered and nothing else, for whoever measures what knowing them costs.
//!
//! Each has two subsystems, which are clients of one of a tenth as many security servers; those have an address and a certificate, and do
//! not exist. The certificates are self-signed, all by one key: nobody ever connects.

use central_server::registry::{Command, State};
use pki::issue::{self, Role, Template};
use pki::key::{KeyKind, PrivateKey};
use proto::id::{MemberId, ServerId};
use proto::time::UnixTime;

use crate::parties;

/// Members of one server.
const PER_SERVER: u32 = 10;
/// Subsystems of each.
const SUBSYSTEMS: [&str; 2] = ["population-register", "school-office"];

/// The commands that register `count` members; none when the first of them is known.
pub(super) fn missing(state: &State, count: u32) -> anyhow::Result<Vec<Command>> {
    if count == 0 || state.members.contains_key(&member(0)) {
        return Ok(Vec::new());
    }
    let mut commands = Vec::new();
    for number in 0..count {
        let id = member(number);
        commands.push(Command::AddMember { id: id.clone(), name: format!("Municipality number {number}") });
        for code in SUBSYSTEMS {
            commands.push(Command::AddSubsystem { id: id.clone().subsystem(code), name: None });
        }
    }
    let key = PrivateKey::generate(KeyKind::P256)?;
    for number in 0..count / PER_SERVER {
        let first = number * PER_SERVER;
        let id = ServerId { owner: member(first), code: format!("ss-{number}") };
        let address = Some(format!("ss{number}.example.org"));
        commands.push(Command::AddServer { id: id.clone(), address });
        commands.push(Command::AddAuthCert { server: id.clone(), cert: certificate(&key, number)? });
        for client in (first..first + PER_SERVER).map(member) {
            for code in SUBSYSTEMS {
                let client = client.clone().subsystem(code);
                commands.push(Command::AddServerClient { server: id.clone(), client });
            }
        }
    }
    Ok(commands)
}

fn member(number: u32) -> MemberId {
    MemberId::new(parties::INSTANCE, parties::CITIES, format!("9{number:07}"))
}

fn certificate(key: &PrivateKey, number: u32) -> anyhow::Result<Vec<u8>> {
    let template = Template {
        subject: &vec![("2.5.4.3", format!("ss-{number}"))],
        role: Role::Authentication,
        // Positive, and of one length.
        serial: &(number | 0x4000_0000).to_be_bytes(),
        not_before: UnixTime(0),
        not_after: UnixTime(4_000_000_000_000),
        dns_names: &[],
        addresses: &[],
        ocsp_url: None,
    };
    Ok(issue::self_signed(&template, key)?.der().to_vec())
}

//! From a document to an [`Instance`]: what is listed goes into rows as it is read, so that no other form of a large registry is ever in
//! memory.

use std::collections::HashMap;
use std::sync::Arc;

use proto::globalconf::shared_parameters::{ClientNumber, GlobalGroup, ListedServer, Member, Registry};
use proto::id::{ClientId, MemberId, ServerId};

use super::compact::{Collector, Index, Text, index, row};
use super::{ClientRow, Group, GroupRow, Listed, MemberRow, ServerList, client_key, group_key};
use crate::globalconf::ProviderServer;

/// Lists of servers, with the places where theirs are in the numbers and providers that follow.
type Lists = (Box<[ServerList]>, Box<[u32]>, Box<[Arc<ProviderServer>]>);

/// What was read until now.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Instance, as the first member has it.
    instance: String,
    texts: Collector,
    members: Vec<MemberRow>,
    clients: Vec<ClientRow>,
    /// Made when all members have come, so that it never has to grow.
    client_index: Option<Index>,
    /// Rows of clients that were listed before, and where; practically none.
    again: HashMap<u32, u32>,
    servers: Vec<Arc<ProviderServer>>,
    server_index: Index,
    server_by_hash: HashMap<Vec<u8>, u32>,
    /// Who is on which server: rows of clients and servers.
    pairs: Vec<(u32, u32)>,
    groups: HashMap<String, Group>,
}

impl Registry for Reading {
    fn member(&mut self, member: Member) {
        if self.members.is_empty() {
            member.id.instance.clone_into(&mut self.instance);
        }
        let number = row(self.members.len());
        let (class, code) = (self.texts.often(&member.id.class), self.texts.once(&member.id.code));
        let name = self.texts.once(&member.name);
        self.members.push(MemberRow { class, code, name });
        self.client(number, Text::NONE, Text::NONE);
        for (code, name) in &member.subsystems {
            let code = self.texts.often(code);
            let name = name.as_ref().map_or(Text::NONE, |name| self.texts.often(name));
            self.client(number, code, name);
        }
    }

    fn server(&mut self, server: ListedServer) {
        if self.client_index.is_none() {
            self.index_clients();
        }
        let number = row(self.servers.len());
        for client in std::iter::once(server.owner).chain(server.clients) {
            // The number of a client is that of its row.
            self.pairs.push((*self.again.get(&client).unwrap_or(&client), number));
        }
        for hash in server.auth_cert_hashes {
            self.server_by_hash.entry(hash).or_insert(number);
        }
        let id = ServerId { owner: self.member_id(server.owner), code: server.code };
        let (address, maintenance) = (server.address.unwrap_or_default(), server.maintenance);
        self.servers.push(Arc::new(ProviderServer { id, address, maintenance }));
        let servers = &self.servers;
        self.server_index.replace(number, |row| &servers[index(row)].id);
    }

    fn group(&mut self, group: GlobalGroup) {
        let mut rows = Vec::with_capacity(group.members.len());
        for ClientId { member, subsystem } in &group.members {
            rows.push(GroupRow {
                instance: self.texts.often(&member.instance),
                class: self.texts.often(&member.class),
                code: self.texts.once(&member.code),
                subsystem: subsystem.as_ref().map_or(Text::NONE, |code| self.texts.often(code)),
            });
        }
        let mut found = Index::default();
        for number in 0..row(rows.len()) {
            found.insert(number, |row| group_key(self.texts.texts(), &rows[index(row)]));
        }
        let content = Group { description: group.description, members: rows.into(), index: found };
        self.groups.insert(group.id.code, content);
    }
}

impl Reading {
    fn client(&mut self, member: u32, subsystem: Text, name: Text) {
        self.clients.push(ClientRow { member, list: 0, subsystem, name });
    }

    fn index_clients(&mut self) {
        let (texts, members, clients) = (self.texts.texts(), &self.members, &self.clients);
        let mut found = Index::with_room_for(clients.len());
        for number in 0..row(clients.len()) {
            let there = found.insert(number, |row| client_key(texts, members, &clients[index(row)]));
            self.again.extend(there.map(|there| (number, there)));
        }
        self.client_index = Some(found);
    }

    fn member_id(&self, client: ClientNumber) -> MemberId {
        let member = &self.members[index(self.clients[index(client)].member)];
        let texts = self.texts.texts();
        MemberId::new(self.instance.as_str(), texts.known(member.class), texts.known(member.code))
    }

    /// Everything, once the whole document was read.
    pub(super) fn finish(mut self) -> Listed {
        if self.client_index.is_none() {
            self.index_clients();
        }
        let (lists, numbers, providers) = self.lists();
        Listed {
            texts: self.texts.finish(),
            members: self.members.into(),
            clients: self.clients.into(),
            client_index: self.client_index.unwrap_or_default(),
            lists,
            numbers,
            providers,
            servers: self.servers.into(),
            server_index: self.server_index,
            server_by_hash: self.server_by_hash,
            groups: self.groups,
        }
    }

    /// The lists of servers that clients have, each once for all clients with the same servers, and gives every client its own.
    fn lists(&mut self) -> Lists {
        let mut pairs = std::mem::take(&mut self.pairs);
        pairs.sort_unstable();
        pairs.dedup();
        // The first one is empty, for clients on no server.
        let (mut lists, mut numbers, mut providers) = (vec![ServerList::default()], Vec::new(), Vec::new());
        let mut known = Index::default();
        for of_client in pairs.chunk_by(|a, b| a.0 == b.0) {
            let start = numbers.len();
            numbers.extend(of_client.iter().map(|(_, server)| *server));
            let list = row(lists.len());
            lists.push(ServerList { numbers: [row(start), row(numbers.len())], providers: [0; 2] });
            let there = known.insert(list, |list| lists[index(list)].of(&numbers));
            if there.is_some() {
                lists.pop();
                numbers.truncate(start);
            } else {
                let start = row(providers.len());
                let on = numbers[index(lists[index(list)].numbers[0])..].iter();
                let on = on.map(|number| &self.servers[index(*number)]);
                providers.extend(on.filter(|server| !server.address.is_empty()).cloned());
                lists[index(list)].providers = [start, row(providers.len())];
            }
            self.clients[index(of_client[0].0)].list = there.unwrap_or(list);
        }
        (lists.into(), numbers.into(), providers.into())
    }
}

//! The table of a server's operations: everything the frame knows about one stands in its row.

use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::call::{Answer, Call};
use crate::problem::Problem;

/// What a caller may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Keys, trust, configuration sources.
    SecurityOfficer,
    /// Members, clients, servers, management requests.
    RegistrationOfficer,
    /// Services and access rights.
    ServiceAdministrator,
    /// The server itself.
    SystemAdministrator,
    /// Looks at a security server.
    Observer,
    /// Hands management requests in; API keys only.
    ManagementService,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::SecurityOfficer,
        Self::RegistrationOfficer,
        Self::ServiceAdministrator,
        Self::SystemAdministrator,
        Self::Observer,
        Self::ManagementService,
    ];

    /// As scripts write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SecurityOfficer => "XROAD_SECURITY_OFFICER",
            Self::RegistrationOfficer => "XROAD_REGISTRATION_OFFICER",
            Self::ServiceAdministrator => "XROAD_SERVICE_ADMINISTRATOR",
            Self::SystemAdministrator => "XROAD_SYSTEM_ADMINISTRATOR",
            Self::Observer => "XROAD_SECURITYSERVER_OBSERVER",
            Self::ManagementService => "XROAD_MANAGEMENT_SERVICE",
        }
    }

    /// The role of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// A right and the roles that have it.
#[derive(Clone, Copy, Debug)]
pub struct Right {
    /// Such as `ADD_NEW_MEMBER`.
    pub name: &'static str,
    /// Who has it.
    pub roles: &'static [Role],
}

/// HTTP method of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// GET, and HEAD with it.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
}

impl Verb {
    /// As in a request line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// What a request's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// None; one that is there is read within its bound and not looked at.
    None,
    /// JSON.
    Json,
    /// JSON; one that is missing counts as `{}`.
    OptionalJson,
    /// `multipart/form-data`.
    Form,
    /// Raw bytes.
    Octets,
}

impl BodyKind {
    /// Its media type.
    pub const fn media_type(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Json | Self::OptionalJson => Some("application/json"),
            Self::Form => Some("multipart/form-data"),
            Self::Octets => Some("application/octet-stream"),
        }
    }
}

/// Who may call an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whoever has a credential.
    SignedIn,
    /// Whoever has one of these rights.
    Rights(Vec<&'static str>),
    /// Nobody; the operation is answered as if the caller had no right.
    Nobody,
}

/// Carries an operation out.
pub type Handler<S> = fn(&S, &mut Call) -> Result<Answer, Problem>;

/// Names the schema of a type.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One row of a server's table.
pub struct Operation<S> {
    /// As API documents name it, such as `addMember`.
    pub id: &'static str,
    /// Method.
    pub verb: Verb,
    /// Template below the base path, such as `/members/{member_id}`.
    pub path: &'static str,
    /// Who may.
    pub access: Access,
    /// Name of its audit event; `None` for what changes nothing.
    pub event: Option<&'static str>,
    /// What its body is.
    pub body: BodyKind,
    /// The body may be as large as an uploaded file.
    pub upload: bool,
    /// Media type of the answer.
    pub produces: &'static str,
    /// Status of success.
    pub success: u16,
    /// Schema of the request.
    pub request: Option<SchemaOf>,
    /// Schema of the answer.
    pub response: Option<SchemaOf>,
    /// Query parameters that it knows.
    pub query: &'static [&'static str],
    /// Named refusals: status and code.
    pub refusals: &'static [(u16, &'static str)],
    /// What carries it out.
    pub handler: Handler<S>,
}

fn operation<S>(verb: Verb, id: &'static str, path: &'static str) -> Operation<S> {
    Operation {
        id,
        verb,
        path,
        access: Access::SignedIn,
        event: None,
        body: BodyKind::None,
        upload: false,
        produces: "application/json",
        success: 200,
        request: None,
        response: None,
        query: &[],
        refusals: &[],
        handler: |_, _| Err(Problem::not_found()),
    }
}

/// A GET.
pub fn get<S>(id: &'static str, path: &'static str) -> Operation<S> {
    operation(Verb::Get, id, path)
}

/// A POST.
pub fn post<S>(id: &'static str, path: &'static str) -> Operation<S> {
    operation(Verb::Post, id, path)
}

/// A PUT.
pub fn put<S>(id: &'static str, path: &'static str) -> Operation<S> {
    operation(Verb::Put, id, path)
}

/// A PATCH.
pub fn patch<S>(id: &'static str, path: &'static str) -> Operation<S> {
    operation(Verb::Patch, id, path)
}

/// A DELETE.
pub fn delete<S>(id: &'static str, path: &'static str) -> Operation<S> {
    operation(Verb::Delete, id, path)
}

impl<S> Operation<S> {
    /// For whoever has this right, or another one named before.
    #[must_use]
    pub fn right(mut self, name: &'static str) -> Self {
        match &mut self.access {
            Access::Rights(names) => names.push(name),
            access => *access = Access::Rights(vec![name]),
        }
        self
    }

    /// For nobody.
    #[must_use]
    pub fn nobody(mut self) -> Self {
        self.access = Access::Nobody;
        self
    }

    /// Recorded under this name; with ` failed` after it when it fails.
    #[must_use]
    pub fn audit(mut self, event: &'static str) -> Self {
        self.event = Some(event);
        self
    }

    /// Takes JSON of this type.
    #[must_use]
    pub fn takes<T: JsonSchema>(mut self) -> Self {
        self.body = BodyKind::Json;
        self.request = Some(schema_of::<T>);
        self
    }

    /// Takes JSON of this type; none counts as `{}`.
    #[must_use]
    pub fn may_take<T: JsonSchema>(mut self) -> Self {
        self.body = BodyKind::OptionalJson;
        self.request = Some(schema_of::<T>);
        self
    }

    /// Takes a form with the fields of this type; files among them.
    #[must_use]
    pub fn takes_form<T: JsonSchema>(mut self) -> Self {
        self.body = BodyKind::Form;
        self.upload = true;
        self.request = Some(schema_of::<T>);
        self
    }

    /// Takes raw bytes.
    #[must_use]
    pub fn takes_octets(mut self) -> Self {
        self.body = BodyKind::Octets;
        self
    }

    /// Whether its body may be as large as an uploaded file.
    #[must_use]
    pub fn upload(mut self, is: bool) -> Self {
        self.upload = is;
        self
    }

    /// Answers JSON of this type with this status.
    #[must_use]
    pub fn gives<T: JsonSchema>(mut self, status: u16) -> Self {
        self.success = status;
        self.response = Some(schema_of::<T>);
        self
    }

    /// Answers with this status and no body.
    #[must_use]
    pub fn gives_nothing(mut self, status: u16) -> Self {
        self.success = status;
        self
    }

    /// Answers a file of this media type.
    #[must_use]
    pub fn gives_file(mut self, media_type: &'static str) -> Self {
        self.produces = media_type;
        self
    }

    /// Looks at these query parameters.
    #[must_use]
    pub fn query(mut self, names: &'static [&'static str]) -> Self {
        self.query = names;
        self
    }

    /// Refuses with these statuses and codes, among others that every operation has.
    #[must_use]
    pub fn refuses(mut self, refusals: &'static [(u16, &'static str)]) -> Self {
        self.refusals = refusals;
        self
    }

    /// Carried out by.
    #[must_use]
    pub fn by(mut self, handler: Handler<S>) -> Self {
        self.handler = handler;
        self
    }
}

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

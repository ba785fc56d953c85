//! The error body: the runner API's (wire contract §1.3) and RFC 9457 problem details in one object.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $recoverable:literal, $title:literal;)*) => {
        /// Why a request was refused: the part that a program may match on.
        ///
        /// The contract's spelling is kept on the wire; inside, the variants have names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
            /// A code that this version does not know.
            #[serde(other)]
            Unknown,
        }

        impl ErrorCode {
            /// Every code but `Unknown`.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Unknown => "UNKNOWN",
                }
            }

            /// HTTP status.
            pub fn status(self) -> u16 {
                match self {
                    $(Self::$name => $status,)*
                    Self::Unknown => 500,
                }
            }

            /// May the same request succeed later, unchanged?
            pub fn recoverable(self) -> bool {
                match self {
                    $(Self::$name => $recoverable,)*
                    Self::Unknown => false,
                }
            }

            /// What the code means, without the particulars.
            pub fn title(self) -> &'static str {
                match self {
                    $(Self::$name => $title,)*
                    Self::Unknown => "Unknown error",
                }
            }
        }
    };
}

codes! {
    RunnerIdMissing = "R_GEN_01", 400, false, "The flamingock-runner-id header is missing";
    RequestMalformed = "R_GEN_02", 400, false, "The request cannot be read";
    RouteNotFound = "R_GEN_03", 404, false, "No such path";
    MethodNotAllowed = "R_GEN_04", 405, false, "The path does not answer to this method";
    BodyTooLarge = "R_GEN_05", 413, false, "The body is too large";
    /// An id or stage name holds `?` and no charset was declared: it may have been lost in Latin-1 (W 6.1).
    TextDamaged = "R_GEN_06", 422, false, "An id was damaged on its way";
    RequestTimedOut = "R_GEN_07", 408, true, "The request took too long to arrive";
    Unavailable = "R_GEN_08", 503, true, "The service is busy";
    Internal = "R_GEN_09", 500, false, "Something went wrong on our side";
    /// A wrong, expired or revoked API token.
    ApiTokenRefused = "R_AUTH_01", 401, false, "The API token is not accepted";
    SessionExpired = "R_AUTH_02", 401, false, "The session has expired";
    /// The session is not for what the path names, or the token's scope does not cover what was asked for.
    OutOfScope = "R_AUTH_03", 403, false, "Outside the scope of this credential";
    RoleInsufficient = "R_AUTH_04", 403, false, "The credential's role does not allow this";
    BearerMissing = "R_AUTH_05", 401, false, "No usable bearer token";
    CredentialRevoked = "R_AUTH_06", 401, false, "The credential was revoked";
    /// A token is asked for, or is to be managed, that may do more than the caller.
    BeyondOwnRights = "R_AUTH_07", 403, false, "More than the caller may itself";
    EnvironmentNotFound = "R_TENANT_01", 404, false, "No such environment";
    ServiceNotFound = "R_TENANT_02", 404, false, "No such service";
    OrganisationNotFound = "R_TENANT_03", 404, false, "No such organisation";
    ProjectNotFound = "R_TENANT_04", 404, false, "No such project";
    /// Something of the same kind and owner has it, or had it and is still found by it.
    NameTaken = "R_TENANT_05", 409, false, "The name is taken";
    Archived = "R_TENANT_06", 409, false, "It is archived";
    TokenNotFound = "R_TOKEN_01", 404, false, "No such API token";
    /// Revoked, expired or already replaced.
    TokenEnded = "R_TOKEN_02", 409, false, "The API token has ended";
    LastRootToken = "R_TOKEN_03", 409, false, "It is the last root token";
    LockHeldByOther = "R_LOCK_01", 409, true, "The lock is not the caller's to take or extend";
    LockNotHeld = "R_LOCK_02", 409, true, "The lock is not held by the caller";
    LockNotFound = "R_LOCK_03", 404, true, "No such lock";
    /// A forced release while the holder's lease is live, without insisting.
    LockIsLive = "R_LOCK_04", 409, true, "The lock's holder is alive";
    /// A forced release of another grant than the one that the lock has now.
    LockMoved = "R_LOCK_05", 409, false, "The lock was granted anew";
    /// The server has not judged this digest at the current head: send the whole pipeline.
    DigestUnknown = "R_PLAN_01", 409, true, "The whole pipeline is needed";
    /// Something failed in this run, and the client does not know: told `ABORT`, it would start its application.
    RunFailed = "R_PLAN_02", 409, false, "The run has failed";
    /// A freeze window of the environment: no work is granted until it ends.
    Frozen = "R_POLICY_01", 409, true, "The environment is frozen";
    ApprovalMissing = "R_POLICY_02", 409, true, "A change waits for approval";
    ChecksumMismatch = "R_POLICY_03", 409, false, "An applied change has another content";
    OutOfOrder = "R_POLICY_04", 409, false, "A change comes out of order";
    ApproverIsAuthor = "R_POLICY_05", 409, false, "Nobody approves their own change";
    PolicyOutdated = "R_POLICY_06", 409, false, "The policy was changed meanwhile";
    FreezeNotFound = "R_POLICY_07", 404, false, "No such freeze window";
    ChangeNotApplied = "R_POLICY_08", 409, false, "The change is not applied";
    StartRefused = "R_AUDIT_01", 409, false, "The change must not be started";
    /// Of an execution that may not say so, or about an entry that is not the one in doubt.
    ProbeRefused = "R_AUDIT_02", 409, false, "The probe's verdict does not count";
    ExecutionNotFound = "R_EXEC_01", 404, false, "No such execution";
    /// Asked to stop, and there is nobody to tell.
    ExecutionOver = "R_EXEC_02", 409, false, "The execution is over";
    IssueNotFound = "R_ISSUE_01", 409, false, "The change needs no decision";
    ChangeInProgress = "R_ISSUE_02", 409, true, "The change is in progress";
    DecisionOutdated = "R_ISSUE_03", 409, false, "The change has a newer entry";
    /// Asked about by id, and nobody has to decide.
    NoSuchIssue = "R_ISSUE_04", 404, false, "The change is no issue";
    /// Older than what is kept, or from before the database was restored.
    EventsNotKept = "R_EVENT_01", 410, false, "The events after that are not kept";
}

// By hand: the derive does not see the texts that the macro renames the variants to, and would document names that are
// never sent.
#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for ErrorCode {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::schema::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .description(Some(
                "Why a request was refused: the part that a program may match on. New codes may come.",
            ))
            .enum_values(Some(Self::ALL.iter().map(|code| code.as_str())))
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for ErrorCode {}

/// One body for two readers: the runner API's error, and RFC 9457 problem details.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProblemDetails {
    pub code: ErrorCode,
    /// What was asked, what stood in the way, what to do. Nothing internal.
    pub message: String,
    /// May the same request succeed later, unchanged?
    #[serde(default)]
    pub recoverable: bool,
    #[serde(default)]
    pub details: Vec<String>,

    /// RFC 9457: names the kind of problem.
    #[serde(rename = "type", default, skip_serializing_if = "String::is_empty")]
    pub type_: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    #[serde(default)]
    pub status: u16,
    /// The request id, to quote when asking for help.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instance: String,
}

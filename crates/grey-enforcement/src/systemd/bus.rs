//! One connection to the system bus, and calls to systemd on it.
//!
//! Every call has a deadline. Knows nothing of what the calls mean, and never
//! starts systemd or anything else by asking for it.

use std::fmt;
use std::io;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zbus::message::Message;
use zbus::{DynamicType, Type};
use zbus::{OwnedVariant, block_on};

use super::deadline::within;
use super::error::{BusError, SystemdError};

/// Time for the bus to let us in.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Time for systemd to answer one call. It is one thread, and while it writes
/// a limit below the use of a cgroup, the kernel makes it reclaim.
const CALL_LIMIT: Duration = Duration::from_secs(25);

const DESTINATION: &str = "org.freedesktop.systemd1";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// systemd's main object.
pub(super) const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
/// The interface of its main object.
pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// A connection to the system bus.
pub(super) struct Bus {
    connection: zbus::Connection,
    limit: Duration,
}

impl fmt::Debug for Bus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Bus")
    }
}

/// Where a call goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Method<'a> {
    /// The object.
    pub(super) path: &'a str,
    /// The interface.
    pub(super) interface: &'a str,
    /// The method.
    pub(super) name: &'a str,
}

impl<'a> Method<'a> {
    /// A method of systemd's main object.
    pub(super) const fn of_manager(name: &'a str) -> Self {
        Self {
            path: MANAGER_PATH,
            interface: MANAGER,
            name,
        }
    }
}

impl Bus {
    /// Connects to the system bus: `DBUS_SYSTEM_BUS_ADDRESS`, or the socket
    /// that everybody knows.
    pub(super) fn connect() -> Result<Self, SystemdError> {
        Self::connect_with_limit(CALL_LIMIT)
    }

    /// The same, with another time for the answers.
    pub(super) fn connect_with_limit(limit: Duration) -> Result<Self, SystemdError> {
        let address = zbus::Address::system().map_err(|source| SystemdError::Connect {
            address: std::env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_default(),
            source: source.into(),
        })?;
        let shown = address.to_string();
        let failed = |source| SystemdError::Connect {
            address: shown.clone(),
            source,
        };
        let built = block_on(within(CONNECT_LIMIT, async {
            zbus::connection::Builder::address(address)
                .method_timeout(limit)
                .build()
                .await
        }));
        let connection = match built {
            Some(Ok(connection)) => connection,
            // The address is in ours already: only what went wrong is news.
            Some(Err(zbus::Error::Connection(source, _))) => {
                return Err(failed(Box::new(io::Error::new(source.kind(), source))));
            }
            Some(Err(source)) => return Err(failed(source.into())),
            None => {
                let error = io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!(
                        "the bus did not answer within {} s",
                        CONNECT_LIMIT.as_secs()
                    ),
                );
                return Err(failed(error.into()));
            }
        };
        Ok(Self { connection, limit })
    }

    /// Calls a method and reads its answer. `doing` and `unit` are for the
    /// error.
    pub(super) fn call<B, A>(
        &self,
        method: Method<'_>,
        body: &B,
        unit: Option<&str>,
        doing: &dyn Fn() -> String,
    ) -> Result<A, SystemdError>
    where
        B: Serialize + DynamicType,
        A: DeserializeOwned + Type,
    {
        let answer = self.send(method, body, unit, doing)?;
        answer
            .body()
            .deserialize()
            .map_err(|source| SystemdError::Call {
                doing: doing(),
                source: source.into(),
            })
    }

    /// One property of an object.
    pub(super) fn property(
        &self,
        path: &str,
        interface: &str,
        name: &str,
        unit: &str,
    ) -> Result<OwnedVariant, SystemdError> {
        let get = Method {
            path,
            interface: PROPERTIES,
            name: "Get",
        };
        self.call(get, &(interface, name), Some(unit), &|| {
            format!("read {name} of {unit}")
        })
    }

    fn send<B>(
        &self,
        method: Method<'_>,
        body: &B,
        unit: Option<&str>,
        doing: &dyn Fn() -> String,
    ) -> Result<Message, SystemdError>
    where
        B: Serialize + DynamicType,
    {
        let answer = block_on(self.connection.call_method(
            Some(DESTINATION),
            method.path,
            Some(method.interface),
            method.name,
            body,
        ));
        answer.map_err(|error| self.judge(error, unit, doing()))
    }

    fn judge(&self, error: zbus::Error, unit: Option<&str>, doing: String) -> SystemdError {
        use zbus::fdo::Error as Standard;
        match &error {
            zbus::Error::InputOutput(cause) if cause.kind() == io::ErrorKind::TimedOut => {
                return SystemdError::TimedOut {
                    doing,
                    limit: self.limit,
                };
            }
            zbus::Error::FDO(standard) => match &**standard {
                Standard::AccessDenied(_)
                | Standard::AuthFailed(_)
                | Standard::InteractiveAuthorizationRequired(_) => {
                    return SystemdError::NotPermitted {
                        doing,
                        source: plain(error),
                    };
                }
                Standard::UnknownProperty(_)
                | Standard::UnknownInterface(_)
                | Standard::UnknownMethod(_)
                | Standard::PropertyReadOnly(_) => {
                    return SystemdError::NotSupported {
                        doing,
                        source: plain(error),
                    };
                }
                _ => {}
            },
            zbus::Error::MethodError(name, _, _) => {
                let unit = unit.unwrap_or_default().to_owned();
                match name.as_str() {
                    "org.freedesktop.systemd1.NoSuchUnit" => {
                        return SystemdError::NoSuchUnit { unit };
                    }
                    "org.freedesktop.systemd1.UnitExists" => {
                        return SystemdError::UnitExists { unit };
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        SystemdError::Call {
            doing,
            source: plain(error),
        }
    }
}

/// The error without a wrapper that would say the same once more.
fn plain(error: zbus::Error) -> BusError {
    match error {
        zbus::Error::FDO(standard) => standard,
        other => other.into(),
    }
}

//! The environment of a function's program, as AWS has it for each runtime.
//!
//! The function's own variables go over defaults that AWS lets be changed, and under what AWS reserves.

use std::collections::BTreeMap;

use base::ports::{FunctionSpec, LogStream};
use base::record::Kind;

use crate::http::CREDENTIALS_PATH;
use crate::languages::Family;
use crate::runtime::Key;

/// Where the Runtime API is, inside.
pub const RUNTIME_API_PORT: u16 = 9001;

/// The X-Ray daemon's. Nobody listens yet, and its clients do not mind.
const XRAY_PORT: u16 = 2000;

/// What an instance is run with.
pub struct Given<'a> {
    pub function: &'a FunctionSpec,
    pub family: Family,
    pub key: &'a Key,
    pub log: &'a LogStream,
    /// The platform's own API, inside.
    pub api_port: u16,
    /// The interpreter is not where it was built for, and finds its libraries through the environment.
    pub is_relocated: bool,
    pub initialization: Kind,
    /// With which it asks for its key, where it does not find that in its environment.
    pub token: Option<&'a str>,
}

pub fn of(given: &Given<'_>) -> BTreeMap<String, String> {
    let function = given.function;
    let mut variables = BTreeMap::new();
    defaults(&function.runtime, given.family, given.api_port, &mut variables);
    for (name, value) in function.environment.expose() {
        variables.insert(name.clone(), value.clone());
    }
    if given.is_relocated {
        find_libraries(&mut variables);
    }
    let mut set = |name: &str, value: &str| {
        variables.insert(name.to_owned(), value.to_owned());
    };
    set("AWS_LAMBDA_FUNCTION_NAME", &function.name);
    set("AWS_LAMBDA_FUNCTION_VERSION", &function.version);
    set("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &function.memory_mb.to_string());
    if given.initialization != Kind::SnapStart {
        // As on AWS, what may become a snapshot does not have what is an instance's own.
        set("AWS_LAMBDA_LOG_GROUP_NAME", &given.log.group);
        set("AWS_LAMBDA_LOG_STREAM_NAME", &given.log.name);
    }
    set("AWS_LAMBDA_INITIALIZATION_TYPE", given.initialization.word());
    set("AWS_LAMBDA_RUNTIME_API", &format!("127.0.0.1:{RUNTIME_API_PORT}"));
    set("AWS_REGION", function.region.as_str());
    set("AWS_DEFAULT_REGION", function.region.as_str());
    set("_HANDLER", &function.handler);
    set("LAMBDA_TASK_ROOT", "/var/task");
    set("LAMBDA_RUNTIME_DIR", "/var/runtime");
    set("_AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1");
    set("_AWS_XRAY_DAEMON_PORT", &XRAY_PORT.to_string());
    set("AWS_XRAY_DAEMON_ADDRESS", &format!("127.0.0.1:{XRAY_PORT}"));
    set("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR");
    if given.family != Family::Provided {
        set("AWS_EXECUTION_ENV", &format!("AWS_Lambda_{}", function.runtime));
    }
    credentials(given, &mut set);
    if function.logging.is_json {
        set("AWS_LAMBDA_LOG_FORMAT", "JSON");
        if let Some(level) = &function.logging.application_level {
            set("AWS_LAMBDA_LOG_LEVEL", level);
        }
    }
    variables
}

/// What of it AWS keeps from extensions.
pub fn of_extensions(variables: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let is_kept = |name: &str| {
        !name.starts_with('_')
            && !name.starts_with("AWS_XRAY_")
            && !matches!(
                name,
                "AWS_EXECUTION_ENV"
                    | "AWS_LAMBDA_LOG_GROUP_NAME"
                    | "AWS_LAMBDA_LOG_STREAM_NAME"
                    | "LAMBDA_RUNTIME_DIR"
                    | "LAMBDA_TASK_ROOT"
            )
    };
    variables.iter().filter(|(name, _)| is_kept(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What a parked process of a runtime is started with: whatever of the above is the same for all its functions. What a
/// function has beside it, or otherwise, comes with `INIT`.
pub fn parked(runtime: &str, family: Family, api_port: u16, is_relocated: bool) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    defaults(runtime, family, api_port, &mut variables);
    if is_relocated {
        find_libraries(&mut variables);
    }
    let execution_env = format!("AWS_Lambda_{runtime}");
    let runtime_api = format!("127.0.0.1:{RUNTIME_API_PORT}");
    for (name, value) in [
        ("AWS_EXECUTION_ENV", execution_env.as_str()),
        ("AWS_LAMBDA_RUNTIME_API", runtime_api.as_str()),
        ("LAMBDA_TASK_ROOT", "/var/task"),
        ("LAMBDA_RUNTIME_DIR", "/var/runtime"),
    ] {
        variables.insert(name.to_owned(), value.to_owned());
    }
    variables
}

/// What a program that is none of the function's needs to be started at all.
pub fn libraries(is_relocated: bool) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    if is_relocated {
        find_libraries(&mut variables);
    }
    variables
}

/// For an interpreter that is not where it was built for.
fn find_libraries(variables: &mut BTreeMap<String, String>) {
    let libraries = variables.entry("LD_LIBRARY_PATH".to_owned()).or_default();
    if !libraries.split(':').any(|folder| folder == LANG_LIBRARIES) {
        // A function that sets its own path means to add to it, and would not start.
        *libraries = if libraries.is_empty() { LANG_LIBRARIES.into() } else { format!("{libraries}:{LANG_LIBRARIES}") };
    }
}

const LANG_LIBRARIES: &str = "/var/lang/lib";

fn credentials(given: &Given<'_>, set: &mut impl FnMut(&str, &str)) {
    if let Some(token) = given.token {
        set("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("http://127.0.0.1:{RUNTIME_API_PORT}{CREDENTIALS_PATH}"));
        set("AWS_CONTAINER_AUTHORIZATION_TOKEN", token);
        return;
    }
    let key = given.key;
    set("AWS_ACCESS_KEY_ID", &key.access_key_id);
    set("AWS_SECRET_ACCESS_KEY", key.secret_access_key.expose());
    if let Some(token) = &key.session_token {
        set("AWS_SESSION_TOKEN", token.expose());
    }
    if matches!(given.function.runtime.as_str(), "java8.al2" | "java11") {
        set("AWS_ACCESS_KEY", &key.access_key_id);
        set("AWS_SECRET_KEY", key.secret_access_key.expose());
    }
}

/// What a function may set otherwise.
fn defaults(runtime: &str, family: Family, api_port: u16, variables: &mut BTreeMap<String, String>) {
    let mut set = |name: &str, value: &str| {
        variables.insert(name.to_owned(), value.to_owned());
    };
    let (mut path, mut libraries) = (
        "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin".to_owned(),
        "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib".to_owned(),
    );
    if runtime == "provided.al2" {
        path = path.replace("/var/lang/bin:", "");
        libraries = libraries.replace("/var/lang/lib:", "");
    }
    if family == Family::Ruby {
        libraries = format!("{libraries}:{libraries}");
    }
    set("PATH", &path);
    set("LD_LIBRARY_PATH", &libraries);
    set("LANG", "en_US.UTF-8");
    set("TZ", ":UTC");
    set("AWS_ENDPOINT_URL", &format!("http://127.0.0.1:{}", api_port));
    match family {
        Family::Python => {
            // `PYTHONPATH` is the bootstrap's to set: one that is there already is the function's own.
            let is_old = matches!(runtime, "python3.8" | "python3.9" | "python3.10" | "python3.11");
            if !is_old {
                set("LC_CTYPE", "C.UTF-8");
            }
        }
        Family::Node => {
            let major = runtime.trim_start_matches("nodejs").trim_end_matches(".x");
            let own = format!("/opt/nodejs/node{major}/node_modules:/opt/nodejs/node_modules");
            set("NODE_PATH", &format!("{own}:/var/runtime/node_modules:/var/runtime:/var/task"));
        }
        Family::Ruby => {
            let version = runtime.trim_start_matches("ruby");
            set(
                "GEM_PATH",
                &format!(
                    "/var/task/vendor/bundle/ruby/{version}.0:/opt/ruby/gems/{version}.0:/var/runtime:/var/runtime/ruby/{version}.0"
                ),
            );
            set("GEM_HOME", "/var/runtime");
            set("RUBYLIB", "/var/task:/var/runtime/lib:/opt/ruby/lib");
        }
        Family::Java | Family::Provided => {}
    }
    if matches!(family, Family::Python | Family::Node | Family::Ruby) {
        set("PWD", "/var/task");
        set("SHLVL", "0");
    }
}

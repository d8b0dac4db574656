//! Which functions a parked process can serve: it has started already, and some of an environment is read only then.

use std::collections::BTreeMap;

use super::Family;

/// Whether a function with this environment needs a process that is started with it, rather than one that was parked
/// with `parked` (`variables::parked`) and takes the function's environment over.
pub fn needs_own_process(family: Family, env: &BTreeMap<String, String>, parked: &BTreeMap<String, String>) -> bool {
    // A program of the function's own is started with the runtime's command line.
    let is_wrapped = env.get("AWS_LAMBDA_EXEC_WRAPPER").is_some_and(|wrapper| !wrapper.is_empty());
    let differs = |name: &String| is_read_at_start(family, name) && env.get(name) != parked.get(name);
    family == Family::Provided || is_wrapped || env.keys().chain(parked.keys()).any(differs)
}

/// What is not here is read when it is used: `TZ`, `PATH`, `NODE_PATH`, `GEM_PATH` and `GEM_HOME` among others, which the
/// bootstraps see to where the interpreter does not.
fn is_read_at_start(family: Family, name: &str) -> bool {
    is_read_by_libraries(name)
        || match family {
            // The interpreter's own switches: the search path, the seed of hashes, the encoding of its streams.
            Family::Python => name.starts_with("PYTHON"),
            Family::Node => NODE.contains(&name),
            // Put before the machine's command line, or read by its launcher.
            Family::Java => {
                name.starts_with("_JAVA_") || matches!(name, "JAVA_TOOL_OPTIONS" | "JDK_JAVA_OPTIONS" | "JAVA_OPTIONS")
            }
            // Switches (`RUBYOPT`), the search path (`RUBYLIB`), sizes of heap and stacks (`RUBY_GC_*`, `RUBY_THREAD_*`).
            Family::Ruby => name.starts_with("RUBY"),
            Family::Provided => true,
        }
}

/// By the dynamic linker, the C library and OpenSSL, whatever the language.
fn is_read_by_libraries(name: &str) -> bool {
    // The linker's: which libraries, from where, and what is preloaded.
    name.starts_with("LD_")
        // The allocator's, and the C library's own.
        || name.starts_with("MALLOC_")
        || name == "GLIBC_TUNABLES"
        // The locale, which interpreters set when they start; encodings of streams and file names follow it.
        || name == "LANG"
        || name == "LANGUAGE"
        || name.starts_with("LC_")
        || matches!(name, "LOCPATH" | "GCONV_PATH" | "NLSPATH")
        // Node.js sets up OpenSSL when it starts, others may have by then.
        || name.starts_with("OPENSSL_")
}

/// What Node.js and libuv read when they start. Not all that begins so: `NODE_ENV` is what libraries ask for, and
/// `NODE_TLS_REJECT_UNAUTHORIZED` is read for each connection.
const NODE: [&str; 22] = [
    "NODE_COMPILE_CACHE",
    "NODE_COMPILE_CACHE_PORTABLE",
    "NODE_DEBUG",
    "NODE_DEBUG_NATIVE",
    "NODE_DISABLE_COLORS",
    "NODE_DISABLE_COMPILE_CACHE",
    "NODE_EXTRA_CA_CERTS",
    "NODE_ICU_DATA",
    "NODE_NO_WARNINGS",
    "NODE_OPTIONS",
    "NODE_PENDING_DEPRECATION",
    "NODE_PRESERVE_SYMLINKS",
    "NODE_PRESERVE_SYMLINKS_MAIN",
    "NODE_REDIRECT_WARNINGS",
    "NODE_TEST_CONTEXT",
    "NODE_USE_ENV_PROXY",
    "NODE_USE_SYSTEM_CA",
    "NODE_V8_COVERAGE",
    // libuv's, when its first thread starts: a parked process may have started it.
    "UV_THREADPOOL_SIZE",
    "UV_USE_IO_URING",
    // Where OpenSSL, which Node.js has set up by then, looks for certificates.
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables;

    fn needs(family: Family, runtime: &str, more: &[(&str, &str)]) -> bool {
        let parked = variables::parked(runtime, family, 4566, false);
        let mut env = parked.clone();
        env.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        needs_own_process(family, &env, &parked)
    }

    #[test]
    fn what_is_read_when_it_is_used_can_come_late() {
        let usual = [("TZ", "Europe/Paris"), ("PATH", "/bin"), ("TABLE", "t"), ("NODE_ENV", "production")];
        let late =
            [("NODE_PATH", "/opt"), ("GEM_PATH", "/opt"), ("AWS_LAMBDA_EXEC_WRAPPER", ""), ("LANG", "en_US.UTF-8")];
        for (family, runtime) in [
            (Family::Python, "python3.13"),
            (Family::Node, "nodejs22.x"),
            (Family::Java, "java21"),
            (Family::Ruby, "ruby3.4"),
        ] {
            assert!(!needs(family, runtime, &[]), "{runtime}");
            assert!(!needs(family, runtime, &usual), "{runtime}");
            assert!(!needs(family, runtime, &late), "{runtime}");
        }
    }

    #[test]
    fn what_is_read_at_start_needs_a_start() {
        for name in
            ["LD_PRELOAD", "LD_LIBRARY_PATH", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "LANG", "LC_ALL", "OPENSSL_CONF"]
        {
            for family in [Family::Python, Family::Node, Family::Java, Family::Ruby] {
                assert!(needs(family, "java21", &[(name, "other")]), "{name}");
            }
        }
        for (family, runtime, name) in [
            (Family::Python, "python3.13", "PYTHONPATH"),
            (Family::Python, "python3.13", "PYTHONHASHSEED"),
            (Family::Node, "nodejs22.x", "NODE_OPTIONS"),
            (Family::Node, "nodejs22.x", "NODE_EXTRA_CA_CERTS"),
            (Family::Node, "nodejs22.x", "UV_THREADPOOL_SIZE"),
            (Family::Java, "java21", "JAVA_TOOL_OPTIONS"),
            (Family::Ruby, "ruby3.4", "RUBYOPT"),
            (Family::Ruby, "ruby3.4", "RUBYLIB"),
            (Family::Java, "java21", "AWS_LAMBDA_EXEC_WRAPPER"),
        ] {
            assert!(needs(family, runtime, &[(name, "other")]), "{name}");
        }
        // Another language's.
        assert!(!needs(Family::Node, "nodejs22.x", &[("PYTHONPATH", "/opt"), ("JAVA_TOOL_OPTIONS", "-X")]));
        assert!(needs(Family::Provided, "provided.al2023", &[]));
    }

    #[test]
    fn what_a_parked_process_was_started_with_may_not_be_gone() {
        let parked = variables::parked("python3.13", Family::Python, 4566, true);
        let mut env = parked.clone();
        env.remove("LC_CTYPE");
        assert!(needs_own_process(Family::Python, &env, &parked));
        assert!(parked.get("LD_LIBRARY_PATH").unwrap().contains("/var/lang/lib"));
    }
}

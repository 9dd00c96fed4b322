//! The languages that a peer may say it is written in.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! languages {
    ($($code:literal $variant:ident $name:literal $doc:literal,)*) => {
        /// Language of a peer; informational.
        #[doc(alias = "LanguageCode")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Language {
            $(#[doc = $doc] $variant,)*
            /// Not said, or not in the list. Never a reason to refuse a frame.
            Unknown,
        }

        impl Language {
            /// The byte of the binary header; `None` for an unknown language.
            pub fn code(self) -> Option<u8> {
                match self { $(Self::$variant => Some($code),)* Self::Unknown => None }
            }

            /// The language of a byte.
            pub fn from_code(code: u8) -> Self {
                match code { $($code => Self::$variant,)* _ => Self::Unknown }
            }

            /// The name on the wire; an unknown language is written as `OTHER`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* Self::Unknown => "OTHER" }
            }

            /// The language of a name.
            pub fn from_name(name: &str) -> Self {
                match name { $($name => Self::$variant,)* _ => Self::Unknown }
            }
        }
    };
}

languages! {
    0 Java "JAVA" "Java",
    1 Cpp "CPP" "C++",
    2 DotNet "DOTNET" "C# and its relatives",
    3 Python "PYTHON" "Python",
    4 Delphi "DELPHI" "Delphi",
    5 Erlang "ERLANG" "Erlang",
    6 Ruby "RUBY" "Ruby",
    7 Other "OTHER" "anything else",
    8 Http "HTTP" "an HTTP bridge",
    9 Go "GO" "Go",
    10 Php "PHP" "PHP",
    11 Oms "OMS" "an OpenMessaging bridge",
    12 Rust "RUST" "Rust: ourselves",
    13 NodeJs "NODE_JS" "Node.js",
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Language {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Language {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name =
            Option::<compact_str::CompactString>::deserialize(deserializer)?.unwrap_or_default();
        Ok(match name.parse() {
            Ok(code) => Self::from_code(code),
            Err(_) => Self::from_name(&name),
        })
    }
}

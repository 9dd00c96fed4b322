//! rmq-server: name server and broker as programs.

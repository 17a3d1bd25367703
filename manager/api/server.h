// Listens, and serves every client in a thread of its own. Requests mostly end in something that
// blocks (the runtime, mounts, the database); a thread each keeps one client from holding up
// another, and streams wait in poll(2) with whatever else they wait for.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "manager/api/connection.h"
#include "manager/container/notifier.h"

namespace strata::manager {

class Exchange;

// Where to listen: "unix:///run/strata/strata.sock" or "tcp://127.0.0.1:2375". A unix socket gets
// mode 0660; one left behind by a dead daemon is replaced, one that answers is EADDRINUSE. TCP is
// for loopback addresses only, as long as there is no TLS: others are EPERM.
Result<UniqueFd> Listen(const std::string& host);

class HttpServer {
 public:
  static constexpr unsigned kConnectionsMax = 1024;

  // `handle` is called by many threads at once.
  static Result<std::unique_ptr<HttpServer>> Start(std::vector<UniqueFd> listeners,
                                                   std::function<void(Exchange&)> handle);
  // Stops listening, tells every connection to end and waits for them.
  ~HttpServer();

 private:
  struct Client {
    std::jthread thread;
    std::atomic<bool> done = false;
  };

  HttpServer(std::vector<UniqueFd> listeners, std::function<void(Exchange&)> handle, Notifier stop)
      : listeners_(std::move(listeners)), handle_(std::move(handle)), stop_(std::move(stop)) {}
  void AcceptLoop();
  void Accept(int listener);
  void Reap();

  std::vector<UniqueFd> listeners_;
  std::function<void(Exchange&)> handle_;
  Notifier stop_;
  std::list<Client> clients_;  // of the accepting thread alone
  std::jthread acceptor_;
};

}  // namespace strata::manager

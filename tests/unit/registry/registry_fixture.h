// What the registry tests share: a client of a scripted registry, quick to lose its patience.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "manager/registry/registry_client.h"
#include "tests/support/scripted_http_server.h"

namespace strata::manager {

inline RegistryOptions QuickRegistryOptions() {
  RegistryOptions options;
  options.connect_timeout = std::chrono::milliseconds(2000);
  options.stall_timeout = std::chrono::milliseconds(1500);
  options.retry_delay = std::chrono::milliseconds(5);
  options.upload_chunk = std::uint64_t{256} * 1024;
  return options;
}

inline std::unique_ptr<RegistryClient> OpenClient(const support::ScriptedHttpServer& server,
                                                  RegistryCredentials credentials = {},
                                                  Cancellation* cancel = nullptr) {
  auto client = RegistryClient::Open(server.Address(), std::move(credentials),
                                     QuickRegistryOptions(), cancel);
  EXPECT_TRUE(client) << client.error().ToString();
  return client ? *std::move(client) : nullptr;
}

// Answers the question whether a registry is there; everything else goes to `handler`.
inline support::ScriptedHttpServer::Handler Registry(support::ScriptedHttpServer::Handler handler) {
  return [handler = std::move(handler)](const support::ScriptedRequest& request) {
    if (request.target == "/v2/") return support::ScriptedReply{};
    return handler(request);
  };
}

}  // namespace strata::manager

#include "daemon/http/message.h"

#include <gtest/gtest.h>

#include <string>

namespace weir {
namespace {

TEST(HttpRequest, QueryValuesAreDecoded) {
  HttpRequest request;
  request.query = "a=1&b=x%20y+z&&c&a=2&d%3d=e%3D&bad=%zz%4&empty=";

  EXPECT_EQ(request.query_value("a"), "1");
  EXPECT_EQ(request.query_value("b"), "x y z");
  EXPECT_EQ(request.query_value("c"), "");
  EXPECT_EQ(request.query_value("d="), "e=");
  EXPECT_EQ(request.query_value("bad"), "%zz%4");
  EXPECT_EQ(request.query_value("empty"), "");
  EXPECT_EQ(request.query_value("missing"), "");
}

TEST(HttpRequest, HeadersAreFoundInAnyCase) {
  HttpRequest request;
  request.headers = {{"Accept", "a"}, {"accept", "b"}};

  EXPECT_EQ(request.header("ACCEPT"), "a");
  EXPECT_EQ(request.header("Accept-"), "");
}

TEST(HttpRoutes, AllowNamesEveryMethodOfThePath) {
  HttpRoutes routes;
  const auto handler = [](const HttpRequest&) { return text_response(200, "ok"); };
  routes.add("GET", "/rules", handler);
  routes.add("POST", "/rules", handler);
  HttpRequest request;
  request.method = "PUT";
  request.path = "/rules";

  const HttpResponse response = routes(request);

  EXPECT_EQ(response.status, 405U);
  ASSERT_EQ(response.headers.size(), 1U);
  EXPECT_EQ(response.headers[0].second, "GET, HEAD, POST");
}

TEST(HttpRoutes, PathsMatchExactly) {
  HttpRoutes routes;
  routes.add("GET", "/x", [](const HttpRequest&) { return text_response(200, "ok"); });
  HttpRequest request;
  request.method = "GET";
  for (const char* path : {"/x/", "/X", "/", "/%78", ""}) {
    request.path = path;
    EXPECT_EQ(routes(request).status, 404U) << path;
  }
}

}  // namespace
}  // namespace weir

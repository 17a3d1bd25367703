#include "manager/cli/template.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "manager/cli/table.h"

namespace strata::manager::cli {
namespace {

using testing::HasSubstr;

const char* const kContainer = R"({
  "Id": "abc", "Name": "/web", "State": {"Running": true, "ExitCode": 0, "Pid": 4242},
  "Config": {"Cmd": ["sleep", "10"], "Env": ["A=1", "B=2"], "Labels": {"b": "2", "a": "1"}, "Tty": false},
  "Mounts": [], "Nothing": null, "Share": 1.5, "Big": 12345678901
})";

std::string Render(std::string_view text, std::string_view json = kContainer) {
  const auto value = ParseJson(json);
  const auto shape = Template::Parse(text);
  if (!shape) return "parse: " + std::string(shape.error().detail());
  const auto out = shape->Render(*value);
  return out ? *out : "render: " + std::string(out.error().detail());
}

TEST(Template, FieldsPrintAsGoPrintsThem) {
  EXPECT_EQ(Render("{{.Id}} {{.State.Running}} {{.State.Pid}}"), "abc true 4242");
  EXPECT_EQ(Render("{{.Config.Cmd}}"), "[sleep 10]");
  EXPECT_EQ(Render("{{.Config.Labels}}"), "map[a:1 b:2]");
  EXPECT_EQ(Render("{{.Nothing}}"), "<no value>");
  EXPECT_EQ(Render("{{.Share}} {{.Big}}"), "1.5 12345678901");
  EXPECT_EQ(Render("plain"), "plain");
  EXPECT_EQ(Render(R"(a\tb\nc)"), "a\tb\nc");
}

TEST(Template, Json) {
  EXPECT_EQ(Render("{{json .Config.Cmd}}"), R"(["sleep","10"])");
  EXPECT_EQ(Render("{{json .State}}"), R"({"Running":true,"ExitCode":0,"Pid":4242})");
  EXPECT_EQ(Render("{{.Config.Cmd | json}}"), R"(["sleep","10"])");
}

TEST(Template, Functions) {
  EXPECT_EQ(Render(R"({{join .Config.Cmd ", "}})"), "sleep, 10");
  EXPECT_EQ(Render(R"({{upper .Id}} {{title "some words"}} {{lower "ABC"}})"),
            "ABC Some Words abc");
  EXPECT_EQ(Render(R"({{split "a:b:c" ":"}})"), "[a b c]");
  EXPECT_EQ(Render("{{len .Config.Cmd}} {{len .Id}}"), "2 3");
  EXPECT_EQ(Render(R"({{index .Config.Cmd 1}} {{index .Config.Labels "a"}})"), "10 1");
  EXPECT_EQ(Render(R"({{truncate "abcdef" 3}}|{{pad "x" 1 2}}|)"), "abc| x  |");
  EXPECT_EQ(Render("{{slice .Id 1}} {{slice .Id 0 2}}"), "bc ab");
  EXPECT_EQ(Render("{{println .Id 1}}"), "abc 1\n");
  EXPECT_EQ(Render("{{(index .Config.Cmd 0)}}"), "sleep");
}

TEST(Template, Conditions) {
  EXPECT_EQ(Render("{{if .State.Running}}up{{else}}down{{end}}"), "up");
  EXPECT_EQ(Render("{{if .Mounts}}m{{else if .Nothing}}n{{else}}none{{end}}"), "none");
  EXPECT_EQ(Render(R"({{if eq .Id "abc"}}same{{end}}{{if ne .Id "abc"}}other{{end}})"), "same");
  EXPECT_EQ(Render("{{if and .State.Running (not .Config.Tty)}}yes{{end}}"), "yes");
  EXPECT_EQ(Render("{{with .State}}{{.Pid}}{{end}}"), "4242");
}

TEST(Template, Ranges) {
  EXPECT_EQ(Render("{{range .Config.Env}}<{{.}}>{{end}}"), "<A=1><B=2>");
  EXPECT_EQ(Render("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}"), "a=1;b=2;");
  EXPECT_EQ(Render("{{range $i, $v := .Config.Env}}{{$i}}{{$v}} {{end}}"), "0A=1 1B=2 ");
  EXPECT_EQ(Render("{{range .Mounts}}x{{else}}empty{{end}}"), "empty");
  EXPECT_EQ(Render("{{range .Config.Cmd}}{{$.Id}} {{end}}"), "abc abc ");
}

TEST(Template, TrimmingAndComments) {
  EXPECT_EQ(Render("a  {{- .Id -}}  b{{/* not shown */}}"), "aabcb");
}

TEST(Template, MistakesAreErrors) {
  EXPECT_THAT(Render("{{.Nope}}"), HasSubstr("no field 'Nope'"));
  EXPECT_THAT(Render("{{.Id.More}}"), HasSubstr("no field 'More'"));
  EXPECT_THAT(Render("{{nope .Id}}"), HasSubstr("no function 'nope'"));
  EXPECT_THAT(Render("{{.Id"), HasSubstr("without }}"));
  EXPECT_THAT(Render("{{if .Id}}x"), HasSubstr("{{end}} is missing"));
  EXPECT_THAT(Render("{{end}}"), HasSubstr("without {{if}}"));
  EXPECT_THAT(Render("{{index .Config.Cmd 7}}"), HasSubstr("out of range"));
  EXPECT_THAT(Render("{{json}}"), HasSubstr("number of arguments"));
  EXPECT_THAT(Render("{{$x}}"), HasSubstr("no variable"));
  EXPECT_THAT(Render("{{}}"), HasSubstr("parse:"));
  EXPECT_THAT(Render("{{\"open}}"), HasSubstr("parse:"));
}

TEST(Template, DeepNestingIsAnErrorNotACrash) {
  std::string text;
  for (int i = 0; i < 10'000; ++i) text += "{{if .Id}}";
  EXPECT_THAT(Render(text), HasSubstr("too deeply"));
  EXPECT_THAT(Render("{{" + std::string(10'000, '(')), HasSubstr("parse:"));
  EXPECT_THAT(Render("{{" + std::string(10'000, '(') + "}}"), HasSubstr("too deeply"));
}

const TableLook kLook{.titles = {{"ID", "CONTAINER ID"}, {"Names", "NAMES"}},
                      .columns = "{{.ID}}\t{{.Names}}",
                      .quiet_field = "ID"};

std::string Rows(std::string_view format, bool quiet = false) {
  std::vector<Json> rows;
  rows.push_back({{"ID", "1"}, {"Names", "a"}});
  rows.push_back({{"ID", "22"}, {"Names", "bé"}});
  const auto text = RenderRows(kLook, rows, format, quiet);
  return text ? *text : std::string(text.error().detail());
}

TEST(Table, IsToldFromTextForPrograms) {
  for (const char* format : {"", "table", "table {{.ID}}"}) EXPECT_TRUE(IsTable(format)) << format;
  for (const char* format : {"json", "{{.ID}}", "tables"}) EXPECT_FALSE(IsTable(format)) << format;
}

TEST(Table, EveryForm) {
  EXPECT_EQ(Rows(""), "CONTAINER ID   NAMES\n1              a\n22             bé\n");
  EXPECT_EQ(Rows("table"), Rows(""));
  EXPECT_EQ(Rows(R"(table {{.Names}}\t{{.ID}})"), "NAMES   CONTAINER ID\na       1\nbé      22\n");
  EXPECT_EQ(Rows("json"), "{\"ID\":\"1\",\"Names\":\"a\"}\n{\"ID\":\"22\",\"Names\":\"bé\"}\n");
  EXPECT_EQ(Rows("{{.Names}}"), "a\nbé\n");
  EXPECT_EQ(Rows("", true), "1\n22\n");
  EXPECT_THAT(Rows("table {{.Nope}}"), HasSubstr("Nope"));
}

}  // namespace
}  // namespace strata::manager::cli

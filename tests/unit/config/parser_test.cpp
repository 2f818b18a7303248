#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "config/nearest.hpp"
#include "config/parser.hpp"

namespace osler::config {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class ParserTest : public testing::Test {
 protected:
  ParserTest() {
    std::string name = (fs::temp_directory_path() / "osler_parser_XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~ParserTest() override { fs::remove_all(folder_); }

  std::string file(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ + "/" + name) << text;
    return folder_ + "/" + name;
  }
  /// A verb without needed options or model checks, so that each test says only what it is about.
  Action parse(const std::vector<std::string>& args) {
    run = {}, data = {}, optim = {}, router = {}, checkpoint = {};
    parser = std::make_unique<Parser>("test", "For tests.");
    parser->add(run), parser->add(data), parser->add(optim), parser->add(router), parser->add(checkpoint);
    return parser->parse(args);
  }
  Action parse_ini(const std::string& text) { return parse({"--config", file("a.ini", text)}); }
  std::string problems(const std::vector<std::string>& args) {
    try {
      parse(args);
    } catch (const ConfigError& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
      return error.what();
    }
    return "no problem";
  }
  std::string problems_of_ini(const std::string& text) { return problems({"--config", file("a.ini", text)}); }

  RunOptions run;
  DataOptions data;
  OptimOptions optim;
  RouterOptions router;
  CheckpointOptions checkpoint;
  std::unique_ptr<Parser> parser;
  std::string folder_;
};

TEST_F(ParserTest, CommandLineBeatsLaterFileBeatsEarlierFileBeatsDefault) {
  const std::string a = file("a.ini", "[run]\nsteps = 10\nlog_every = 3\nseed=5\n[optim]\nbeta1 = 0.5\n");
  const std::string b =
      file("b.ini", "\xEF\xBB\xBF# comment\r\n[run] # section\r\n  steps =  20 \r\n\r\nlog_every=4\r\n");
  EXPECT_EQ(parse({"--config", a, b, "--run.steps=30", "--optim.eps", "1e-6"}), Action::run);
  EXPECT_EQ(run.steps, 30);
  EXPECT_EQ(run.log_every, 4);
  EXPECT_EQ(run.seed, 5u);
  EXPECT_EQ(run.max_hours, 0);
  EXPECT_EQ(optim.beta1, 0.5);
  EXPECT_EQ(optim.eps, 1e-6);
  EXPECT_EQ(parse({"--config", b, "--config=" + a}), Action::run);
  EXPECT_EQ(run.steps, 10);
}

TEST_F(ParserTest, AListIsReplacedAsAWhole) {
  const std::string a = file("a.ini", "[data]\nsource = g:0.2:/g\nsource = c:0.8:/c:d\nvalidation = v:/v\n");
  const std::string b = file("b.ini", "[data]\nsource = x:1:rel/x\n");
  parse({"--config", a});
  ASSERT_EQ(data.source.size(), 2u);
  EXPECT_EQ(data.source[1].name, "c");
  EXPECT_EQ(data.source[1].weight, 0.8);
  EXPECT_EQ(data.source[1].path, "/c:d");  // only the first two colons divide
  parse({"--config", a, b});
  ASSERT_EQ(data.source.size(), 1u);
  EXPECT_EQ(data.source[0].path, "rel/x");
  EXPECT_EQ(data.validation.size(), 1u);
  parse({"--config", a, b, "--data.source=p:1:/p", "--data.source", "q:2:/q"});
  ASSERT_EQ(data.source.size(), 2u);
  EXPECT_EQ(data.source[0].name, "p");
  parse({"--config", a, file("c.ini", "[data]\nvalidation =\n")});
  EXPECT_TRUE(data.validation.empty());
  parse({"--config", a, "--data.source=", "--run.dir=", "--run.steps=4"});
  EXPECT_TRUE(data.source.empty());
  EXPECT_EQ(run.steps, 4);
}

TEST_F(ParserTest, BooleansAreReadInAllTheirSpellings) {
  for (const char* yes : {"on", "yes", "1", "true", "True"}) {
    parse({std::string("--data.cross_document=") + yes});
    EXPECT_TRUE(data.cross_document) << yes;
  }
  for (const char* no : {"off", "no", "0", "false", "OFF"}) {
    parse_ini(std::string("[data]\ncross_document = ") + no);
    EXPECT_FALSE(data.cross_document) << no;
  }
  EXPECT_THAT(problems({"--data.cross_document=maybe"}), HasSubstr("neither on, yes, 1, true"));
}

struct BadCase {
  const char* argument;
  const char* message;
};

TEST_F(ParserTest, RefusesBadValuesOnTheCommandLine) {
  for (const auto& [argument, message] :
       std::initializer_list<BadCase>{{"--run.seed=-1", "run.seed: '-1' is not a whole number that is not negative"},
                                      {"--run.seed=18446744073709551616", "out of range"},
                                      {"--run.steps=-1", "run.steps: must be >= 0, not -1"},
                                      {"--run.steps=5.5", "'5.5' is not a whole number"},
                                      {"--run.steps=5x", "'5x' is not a whole number"},
                                      {"--run.steps=1e3", "'1e3' is not a whole number"},
                                      {"--run.steps=99999999999999999999", "out of range"},
                                      {"--run.threads=4294967297", "too large"},
                                      {"--optim.learning_rate=nan", "not a finite number"},
                                      {"--optim.learning_rate=inf", "not a finite number"},
                                      {"--optim.learning_rate=-inf", "not a finite number"},
                                      {"--optim.learning_rate=1e400", "out of range"},
                                      {"--optim.learning_rate=1,5", "'1,5' is not a number"},
                                      {"--optim.learning_rate=0", "must be > 0, not 0"},
                                      {"--optim.beta1=1", "must be >= 0 and < 1, not 1"},
                                      {"--optim.decay_fraction=0", "must be > 0 and <= 1, not 0"},
                                      {"--optim.schedule=cosin", "did you mean cosine?"},
                                      {"--optim.schedule=step", "not one of cosine, linear, wsd, constant"},
                                      {"--router.aux_coefficient=-0.5", "must be -1 or >= 0"},
                                      {"--data.source=a:b", "not NAME:WEIGHT:PATH"},
                                      {"--data.source=a:x:/p", "the weight 'x' is not a number"},
                                      {"--data.source=a:0:/p", "the weight must be greater than 0"},
                                      {"--data.source=a:nan:/p", "not a finite number"},
                                      {"--data.source=a:1:", "the path is empty"},
                                      {"--data.source=:1:/p", "the name may hold"},
                                      {"--data.validation=/just/a/path", "not NAME:PATH"},
                                      {"--run.dir=/a/b#c", "'#'"},
                                      {"--run.dir=/a\nb", "control character"},
                                      {"--run.step=5", "unknown option --run.step; did you mean run.steps?"},
                                      {"--run.st=5", "unknown option --run.st; [run] knows dir, seed, steps"},
                                      {"--step=5", "unknown option --step"},
                                      {"--sequence_length=5", "did you mean data.sequence_length?"},
                                      {"--optim.lr=5", "[optim] knows learning_rate, min_learning_rate"},
                                      {"--nothing.like=5", "see --help"},
                                      {"--conf=x.ini", "unknown option --conf"},
                                      {"stray", "'stray' is not an option"},
                                      {"-x", "'-x' is not an option"},
                                      {"--run.steps", "run.steps"},
                                      {"--run.steps=", "run.steps: '' is not a whole number"},
                                      {"--run.step=", "unknown option --run.step; did you mean run.steps?"},
                                      {"--config=/no/such/file.ini", "/no/such/file.ini"},
                                      {"--config=/tmp", "directory"},
                                      {"--eval.limit=3", "osler test does not use eval.limit"}}) {
    EXPECT_THAT(problems({argument}), HasSubstr(message)) << argument;
  }
  EXPECT_THAT(problems({"--run.steps=1", "--run.steps=2"}), HasSubstr("run.steps: given twice"));
  const std::string unknown = problems({"--foo", "bar", "--run.steps", "-3"});
  EXPECT_THAT(unknown,
              AllOf(HasSubstr("unknown option --foo"), HasSubstr("must be >= 0, not -3"), Not(HasSubstr("'bar'"))));
}

TEST_F(ParserTest, RefusesBadFilesWithFileAndLine) {
  for (const auto& [text, message] : std::initializer_list<BadCase>{
           {"[run]\nstep = 5\n", "a.ini:2: unknown key run.step; did you mean run.steps?"},
           {"[run]\n\nsteps = 5\nseed = 1\nsteps = 6\n", "a.ini:5: run.steps: given twice (first at "},
           {"[run]\nsteps = -1\n", "a.ini:2: run.steps: must be >= 0, not -1"},
           {"[run]\nseed = -1\n", "a.ini:2: run.seed: '-1' is not a whole number that is not negative"},
           {"[optim]\nlearning_rate = nan\n", "a.ini:2: optim.learning_rate: 'nan' is not a finite number"},
           {"[run]\ndir = /data/a#b\n", "a.ini:2: '#' would cut this value short"},
           {"[run]\nsteps = 5 # five\n", "a.ini:2: '#' would cut this value short"},
           {"; old style\n", "a.ini:1: ';' starts no comment"},
           {"[run]\nsteps 5\n", "a.ini:2: 'steps 5' is neither [section] nor key = value"},
           {"[run]\n= 5\n", "a.ini:2: '= 5' is neither"},
           {"[run\nsteps = 5\n", "a.ini:1: '[run' lacks the closing ']'"},
           {"[rum]\nsteps = 5\n", "a.ini:1: unknown section [rum]; did you mean [run]?"},
           {"[zzzzzz]\n", "known are checkpoint, cluster"},
           {"[run]\nsteps =\n", "a.ini:2: run.steps: '' is not a whole number"},
           {"[run]\nrun.steps = 5\n", "a.ini:2: unknown key run.run.steps"},
           {"steps = 5\n", "a.ini:1: unknown key steps; did you mean run.steps?"},
           {"[eval]\nlimt = 3\n", "a.ini:2: unknown key eval.limt; did you mean eval.limit?"},
           {"[eval]\nlimit = many\n", "a.ini:2: eval.limit: 'many' is not a whole number"},
           {"[run]\ndir = \"quoted\"\n[run]\nsteps = x\n", "a.ini:4: run.steps: 'x'"}}) {
    EXPECT_THAT(problems_of_ini(text), HasSubstr(message)) << text;
  }
  EXPECT_THAT(problems_of_ini(std::string("[run]\n\0", 7)), HasSubstr("not a text file"));
  EXPECT_THAT(problems_of_ini("#" + std::string(2 << 20, 'x')), HasSubstr("more than"));
}

TEST_F(ParserTest, ReportsEveryProblemAtOnce) {
  const std::string text = problems({"--config", file("a.ini", "[run]\nstep = 1\nlog_every = 0\n[optim]\neps = no\n"),
                                     "--data.micro_batch=0", "--nope=1"});
  EXPECT_THAT(text, StartsWith("5 problems in the configuration:\n"));
  EXPECT_THAT(text,
              AllOf(HasSubstr(":2: unknown key run.step"), HasSubstr(":3: run.log_every"), HasSubstr(":5: optim.eps"),
                    HasSubstr("command line: data.micro_batch"), HasSubstr("command line: unknown option --nope")));
}

TEST_F(ParserTest, RefusesFieldsThatContradictEachOther) {
  for (const auto& [text, message] : std::initializer_list<BadCase>{
           {"[data]\nglobal_batch = 10\nmicro_batch = 4\n",
            "10 is no multiple of data.micro_batch = 4; the nearest are 8 and 12"},
           {"[data]\nsource = a:1:/x\nsource = a:1:/y\n", "the name 'a' is used twice"},
           {"[run]\nsteps = 5\nstop_at_step = 6\n", "run.stop_at_step: 6 is after run.steps = 5"},
           {"[optim]\nmin_learning_rate = 1\n", "is above optim.learning_rate"},
           {"[run]\nsteps = 5\n[optim]\nwarmup_steps = 6\n", "optim.warmup_steps: 6 is more than run.steps = 5"},
           {"[router]\naux_loss = off\naux_coefficient = 0.1\n", "router.aux_loss is off"},
           {"[checkpoint]\nasync = on\n", "checkpoint.async: not in this version"}}) {
    EXPECT_THAT(problems_of_ini(text), HasSubstr(message)) << text;
  }
}

TEST_F(ParserTest, SectionsOfOtherVerbsAreCheckedAndIgnored) {
  EXPECT_EQ(parse_ini("[eval]\nlimit = 3\n[run]\nsteps = 2\n[tokenize]\ninput = a:/x\n"), Action::run);
  EXPECT_EQ(run.steps, 2);
  EXPECT_THAT(parser->resolved_ini(), Not(HasSubstr("eval")));
}

TEST_F(ParserTest, PrintsWhatItResolvedAndWhere) {
  const std::string path = file("a.ini", "[run]\nsteps = 300\n[data]\nsource = g:0.25:/g\nsource = c:0.75:/c\n");
  EXPECT_EQ(parse({"--print-config", "--config", path, "--run.dir=out"}), Action::print_config);
  const std::string text = parser->print_config();
  EXPECT_THAT(text, HasSubstr("# command line\ndir = out\n"));
  EXPECT_THAT(text, HasSubstr("# " + path + ":2\nsteps = 300\n"));
  EXPECT_THAT(text, HasSubstr("# " + path + ":4, " + path + ":5\nsource = g:0.25:/g\nsource = c:0.75:/c\n"));
  EXPECT_THAT(text, HasSubstr("# default\nlog_every = 10\n"));
  // Both forms read back to the same configuration.
  const std::string resolved = parser->resolved_ini();
  const std::string hash = parser->config_hash();
  EXPECT_THAT(resolved, Not(HasSubstr("#")));
  for (const std::string& again : {resolved, text}) {
    EXPECT_EQ(parse_ini(again), Action::run);
    EXPECT_EQ(parser->resolved_ini(), resolved);
    EXPECT_EQ(parser->config_hash(), hash);
  }
  parse({"--config", file("b.ini", resolved), "--run.seed=9"});
  EXPECT_NE(parser->config_hash(), hash);
}

TEST_F(ParserTest, HelpShowsEveryOptionWithItsFacts) {
  EXPECT_EQ(parse({"--run.steps=x", "--help"}), Action::help);
  EXPECT_EQ(parse({"-h"}), Action::help);
  const std::string text = parser->help();
  EXPECT_THAT(text, HasSubstr("--dry-run"));
  EXPECT_THAT(Parser("plan", "").help(), Not(HasSubstr("--dry-run")));
  EXPECT_THAT(text, AllOf(HasSubstr("[optim]\n"), HasSubstr("--optim.beta2=X"), HasSubstr(">= 0 and < 1; default 0.95"),
                          HasSubstr("--optim.schedule=cosine|linear|wsd|constant"), HasSubstr("repeats"),
                          HasSubstr("in steps")));
  EXPECT_EQ(parse({"--dry-run"}), Action::dry_run);
}

TEST(Verbs, MayLeaveOutTheirOwnSectionAndNameWhatTheyNeed) {
  ConvertOptions convert;
  Parser parser("convert", "");
  parser.add(convert);
  EXPECT_EQ(parser.parse({"--input", "in", "--output=out", "--shard-bytes=10"}), Action::run);
  EXPECT_EQ(convert.input, "in");
  EXPECT_EQ(convert.shard_bytes, 10);
  ConvertOptions empty;
  Parser other("convert", "");
  other.add(empty);
  try {
    other.parse({"--dtype=int8"});
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("convert.input: is needed by osler convert"), HasSubstr("convert.output: is needed"),
                      HasSubstr("'int8' is not one of bf16, fp16, fp32")));
  }
}

TEST(Verbs, SearchMayStandAloneOnTheCommandLine) {
  const auto searches = [](const std::vector<std::string>& args) {
    PlanOptions plan;
    ModelOptions model;
    Parser parser("plan", "");
    parser.add(plan), parser.add(model);
    parser.parse(args);
    EXPECT_EQ(plan.world_size, 8);
    return plan.search;
  };
  const std::string model = "--model.config=m.json", world = "--world-size=8";
  EXPECT_FALSE(searches({model, world}));
  EXPECT_TRUE(searches({model, world, "--search"}));
  EXPECT_TRUE(searches({model, "--search", world}));
  EXPECT_TRUE(searches({model, "--plan.search", "on", world}));
  EXPECT_FALSE(searches({model, "--search", "off", world}));
  EXPECT_FALSE(searches({model, "--search=off", world}));
}

TEST(Verbs, AreNotToldWhatFollowsFromAnotherProblem) {
  const auto message = [](const std::vector<std::string>& args) -> std::string {
    RunOptions run;
    Parser parser("pretrain", "");
    parser.add(run);
    try {
      parser.parse(args);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "accepted";
  };
  const std::string absent = message({"--config", "/no/such.ini"});
  EXPECT_THAT(absent, AllOf(HasSubstr("/no/such.ini"), Not(HasSubstr("needed"))));
  EXPECT_THAT(message({"--run.dir=d", "--run.steps"}), Not(HasSubstr("needed")));
  EXPECT_EQ(message({"--run.dir=d", "--run.steps=x", "--run.stop_at_step=5"}),
            "command line: run.steps: 'x' is not a whole number");
  EXPECT_THAT(message({"--run.steps=3"}), HasSubstr("run.dir: is needed by osler pretrain"));
  EXPECT_EQ(message({"--run.dir= d ", "--run.steps=3"}), "accepted");
}

TEST(Nearest, OffersWhatIsClose) {
  EXPECT_EQ(nearest_name("cosin", {"linear", "cosine"}), "cosine");
  EXPECT_EQ(nearest_name("pretrian", {"plan", "pretrain"}), "pretrain");
  EXPECT_EQ(nearest_name("x", {"plan", "run"}), "");
  EXPECT_EQ(nearest_multiples(10, 4), "the nearest are 8 and 12");
  EXPECT_EQ(nearest_multiples(3, 4), "use 4");
  EXPECT_EQ(nearest_divisors(3, 8), "the nearest are 2 and 4");
  EXPECT_EQ(nearest_divisors(5, 7), "the nearest are 1 and 7");
  EXPECT_EQ(nearest_divisors(16, 8), "use 8");
}

TEST(Verbs, RefuseWhatIsNotInThisVersion) {
  const auto message = [](const std::string& verb, const std::vector<std::string>& args) -> std::string {
    TokenizeOptions tokenize;
    ParallelOptions parallel;
    EvalOptions eval;
    ModelOptions model;
    Parser parser(verb, "");
    parser.add(tokenize), parser.add(parallel), parser.add(eval), parser.add(model);
    try {
      parser.parse(args);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(message("x", {"--tokenize.format=chat"}), "accepted");
  EXPECT_EQ(message("plan", {"--parallel.ep=2", "--model.from=m"}), "accepted");
  const auto evaluate = [&](std::vector<std::string> args) {
    args.insert(args.end(), {"--eval.model=m", "--eval.task=exam:f", "--eval.output=o"});
    return message("evaluate", args);
  };
  EXPECT_EQ(evaluate({}), "accepted");
  EXPECT_THAT(evaluate({"--eval.shots=1"}), HasSubstr("eval.shots: is 1 but eval.strategy is zero-shot"));
  EXPECT_THAT(evaluate({"--eval.strategy=few-shot", "--eval.shots=0", "--eval.train=exam:t"}),
              HasSubstr("eval.shots: is 0"));
  EXPECT_THAT(evaluate({"--eval.strategy=few-shot"}), HasSubstr("eval.train: is needed: 5 exemplars"));
  EXPECT_EQ(evaluate({"--eval.strategy=few-shot", "--eval.train=exam:t"}), "accepted");
  EXPECT_THAT(evaluate({"--eval.strategy=cot", "--eval.answer=likelihood"}), HasSubstr("cot reads generated text"));
  EXPECT_THAT(message("evaluate", {"--eval.task=exam:f", "--eval.output=o"}), HasSubstr("eval.model: is needed"));
  EXPECT_THAT(message("pretrain", {}), HasSubstr("model.from: is needed"));
  EXPECT_THAT(message("pretrain", {"--model.from=m", "--model.config=c"}), HasSubstr("model.from is given as well"));
}

TEST(Names, AreThoseOfTheConfigFile) {
  EXPECT_EQ(name_of(Precision::bf16), "bf16");
  EXPECT_EQ(name_of(Recompute::selective), "selective");
  EXPECT_EQ(name_of(Schedule::wsd), "wsd");
  EXPECT_EQ(name_of(AuxLoss::megatron), "megatron");
  EXPECT_EQ(name_of(Strategy::cot_sc), "cot-sc");
  EXPECT_EQ(name_of(Scoring::letter), "letter");
  EXPECT_EQ(name_of(TextFormat::chat), "chat");
  EXPECT_EQ(name_of(BadRecords::stop), "stop");
}

}  // namespace
}  // namespace osler::config

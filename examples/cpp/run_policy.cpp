// Runs a policy file of metamotor, or adapts one to recorded experience first, as Python's runtime does.
//
//   run_policy policy.onnx < observations.csv > actions.csv
//   run_policy adapt.onnx --adapt episodes.csv < observations.csv > actions.csv
//
// Each line of input is an observation, its numbers parted by commas, in the order and the units that the file's
// metadata names; each line of output is the action, with all the digits of a float. An empty line begins an episode:
// what a policy remembers goes back to its start. Lines with # are passed over.
//
// Each line of an experience file is a step: the episode's number, the observation, the action as it was chosen (not yet
// brought inside the action space), and the reward. Each --adapt is one update, made of the episodes in its file.
//
// Unlike metamotor.deploy.runtime this does not screen the file: docs/untrusted-files.md says how to do that before.

#include <onnxruntime_c_api.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using Row = std::vector<double>;

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what); }

// JSON ----------------------------------------------------------------------------------------------------------------

/// A value of the file's metadata; numbers as doubles, true and false as 1 and 0.
struct Json {
  enum Kind { null, number, text, list, object } kind = null;
  double value = 0.0;
  std::string string;
  std::vector<Json> items;
  std::map<std::string, Json> entries;

  const Json& operator[](const std::string& name) const {
    const auto found = entries.find(name);
    if (found == entries.end()) fail("the file's metadata lacks " + name);
    return found->second;
  }
  bool has(const std::string& name) const { return entries.count(name) && entries.at(name).kind != null; }
  Row numbers() const {
    Row found;
    for (const Json& item : items) found.push_back(item.value);
    return found;
  }
};

class JsonReader {
 public:
  explicit JsonReader(const std::string& text) : text_(text) {}

  Json read(int depth = 0) {
    if (depth > 64) fail("the file's metadata is nested too deep");
    Json found;
    switch (peek()) {
      case '{':
        found.kind = Json::object;
        ++at_;
        while (peek() != '}') {
          const std::string name = string();
          expect(':');
          found.entries[name] = read(depth + 1);
          if (peek() == ',') ++at_;
        }
        ++at_;
        return found;
      case '[':
        found.kind = Json::list;
        ++at_;
        while (peek() != ']') {
          found.items.push_back(read(depth + 1));
          if (peek() == ',') ++at_;
        }
        ++at_;
        return found;
      case '"':
        found.kind = Json::text;
        found.string = string();
        return found;
      case 't':
        return word("true", Json::number, 1.0);
      case 'f':
        return word("false", Json::number, 0.0);
      case 'n':
        return word("null", Json::null, 0.0);
      default: {
        const char* start = text_.c_str() + at_;
        char* end = nullptr;
        found.kind = Json::number;
        found.value = std::strtod(start, &end);
        if (end == start) fail("the file's metadata is not JSON");
        at_ += static_cast<std::size_t>(end - start);
        return found;
      }
    }
  }

 private:
  char peek() {
    while (at_ < text_.size() && std::strchr(" \t\r\n", text_[at_])) ++at_;
    if (at_ >= text_.size()) fail("the file's metadata breaks off");
    return text_[at_];
  }
  void expect(char wanted) {
    if (peek() != wanted) fail("the file's metadata is not JSON");
    ++at_;
  }
  Json word(const char* wanted, Json::Kind kind, double value) {
    if (text_.compare(at_, std::strlen(wanted), wanted)) fail("the file's metadata is not JSON");
    at_ += std::strlen(wanted);
    Json found;
    found.kind = kind;
    found.value = value;
    return found;
  }
  std::string string() {
    expect('"');
    std::string found;
    for (; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      if (text_[at_] == '\\' && at_ + 1 < text_.size()) ++at_;  // names that are looked up have no escapes
      found += text_[at_];
    }
    if (at_ >= text_.size()) fail("the file's metadata breaks off");
    ++at_;
    return found;
  }

  const std::string& text_;
  std::size_t at_ = 0;
};

// onnxruntime ---------------------------------------------------------------------------------------------------------

const OrtApi* api() {
  static const OrtApi* found = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (!found) fail("this onnxruntime is older than the header that this program was built with");
  return found;
}

void check(OrtStatus* status) {
  if (!status) return;
  const std::string message = api()->GetErrorMessage(status);
  api()->ReleaseStatus(status);
  fail(message);
}

template <class T>
using Owned = std::unique_ptr<T, void (*)(T*)>;

/// Numbers of one type in a shape, to or from a graph.
struct Tensor {
  std::vector<std::int64_t> shape;
  std::vector<float> floats;
  std::vector<std::int64_t> integers;
  Row doubles;
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;

  static Tensor of(std::vector<std::int64_t> shape, std::vector<float> values) {
    return {std::move(shape), std::move(values), {}, {}, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT};
  }
  static Tensor of(std::vector<std::int64_t> shape, std::vector<std::int64_t> values) {
    return {std::move(shape), {}, std::move(values), {}, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64};
  }
  static Tensor of(std::vector<std::int64_t> shape, Row values) {
    return {std::move(shape), {}, {}, std::move(values), ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE};
  }
  bool is_integer() const { return type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64; }
  void* data() {
    if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE) return doubles.data();
    return is_integer() ? static_cast<void*>(integers.data()) : floats.data();
  }
  std::size_t bytes() const { return 8 * (integers.size() + doubles.size()) + 4 * floats.size(); }
};

using Tensors = std::map<std::string, Tensor>;

class Session {
 public:
  explicit Session(const std::string& model)
      : environment_(nullptr, api()->ReleaseEnv),
        memory_(nullptr, api()->ReleaseMemoryInfo),
        session_(nullptr, api()->ReleaseSession) {
    OrtEnv* environment = nullptr;
    check(api()->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "run_policy", &environment));
    environment_.reset(environment);
    OrtMemoryInfo* memory = nullptr;
    check(api()->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
    memory_.reset(memory);
    OrtSessionOptions* made = nullptr;
    check(api()->CreateSessionOptions(&made));
    const Owned<OrtSessionOptions> options(made, api()->ReleaseSessionOptions);
    // As in Python: one thread, and none that spins and starves the control loop.
    check(api()->SetIntraOpNumThreads(options.get(), 1));
    check(api()->AddSessionConfigEntry(options.get(), "session.intra_op.allow_spinning", "0"));
    check(api()->AddSessionConfigEntry(options.get(), "session.load_model_format", "ONNX"));
    OrtSession* session = nullptr;
    check(api()->CreateSessionFromArray(environment, model.data(), model.size(), options.get(), &session));
    session_.reset(session);
    inputs = names(api()->SessionGetInputCount, api()->SessionGetInputName);
    outputs = names(api()->SessionGetOutputCount, api()->SessionGetOutputName);
    weights = names(api()->SessionGetOverridableInitializerCount, api()->SessionGetOverridableInitializerName);
  }

  /// An entry of the file's metadata; empty if there is none.
  std::string metadata(const char* key) const {
    OrtModelMetadata* found = nullptr;
    check(api()->SessionGetModelMetadata(session_.get(), &found));
    const Owned<OrtModelMetadata> all(found, api()->ReleaseModelMetadata);
    char* value = nullptr;
    check(api()->ModelMetadataLookupCustomMetadataMap(found, allocator(), key, &value));
    return value ? taken(value) : std::string();
  }

  Tensors run(Tensors& feed, const std::vector<std::string>& wanted) const {
    std::vector<const char*> input_names, output_names;
    std::vector<Owned<OrtValue>> held;
    std::vector<const OrtValue*> given;
    for (auto& [name, tensor] : feed) {
      OrtValue* value = nullptr;
      check(api()->CreateTensorWithDataAsOrtValue(
          memory_.get(), tensor.data(), tensor.bytes(), tensor.shape.data(), tensor.shape.size(),
          tensor.type, &value));
      held.emplace_back(value, api()->ReleaseValue);
      given.push_back(value);
      input_names.push_back(name.c_str());
    }
    for (const std::string& name : wanted) output_names.push_back(name.c_str());
    std::vector<OrtValue*> made(wanted.size(), nullptr);
    check(api()->Run(session_.get(), nullptr, input_names.data(), given.data(), given.size(), output_names.data(),
                     output_names.size(), made.data()));
    Tensors found;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      held.emplace_back(made[i], api()->ReleaseValue);
      found[wanted[i]] = read(made[i]);
    }
    return found;
  }

  std::vector<std::string> inputs, outputs, weights;

 private:

  static OrtAllocator* allocator() {
    OrtAllocator* found = nullptr;
    check(api()->GetAllocatorWithDefaultOptions(&found));
    return found;
  }
  static std::string taken(char* value) {
    const std::string copy = value;
    check(api()->AllocatorFree(allocator(), value));
    return copy;
  }
  template <class C, class N>
  std::vector<std::string> names(C count_of, N name_of) const {
    std::size_t count = 0;
    check(count_of(session_.get(), &count));
    std::vector<std::string> found;
    for (std::size_t i = 0; i < count; ++i) {
      char* name = nullptr;
      check(name_of(session_.get(), i, allocator(), &name));
      found.push_back(taken(name));
    }
    return found;
  }
  static Tensor read(OrtValue* value) {
    OrtTensorTypeAndShapeInfo* made = nullptr;
    check(api()->GetTensorTypeAndShape(value, &made));
    const Owned<OrtTensorTypeAndShapeInfo> info(made, api()->ReleaseTensorTypeAndShapeInfo);
    ONNXTensorElementDataType type{};
    check(api()->GetTensorElementType(info.get(), &type));
    std::size_t rank = 0;
    check(api()->GetDimensionsCount(info.get(), &rank));
    Tensor found;
    found.type = type;
    found.shape.resize(rank);
    check(api()->GetDimensions(info.get(), found.shape.data(), rank));
    std::size_t count = 1;
    for (const std::int64_t side : found.shape) count *= static_cast<std::size_t>(side);
    void* data = nullptr;
    check(api()->GetTensorMutableData(value, &data));
    if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) {
      found.floats.assign(static_cast<float*>(data), static_cast<float*>(data) + count);
    } else if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64) {
      found.integers.assign(static_cast<std::int64_t*>(data), static_cast<std::int64_t*>(data) + count);
    } else if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE) {
      found.doubles.assign(static_cast<double*>(data), static_cast<double*>(data) + count);
    } else {
      fail("the graph gives numbers of a type that this program does not know");
    }
    return found;
  }

  Owned<OrtEnv> environment_;
  Owned<OrtMemoryInfo> memory_;
  Owned<OrtSession> session_;
};

// The weights in a file -----------------------------------------------------------------------------------------------

struct Piece {
  std::uint64_t number, value;
  std::string content;
};

/// The fields of a message of Protocol Buffers, which is what an ONNX file is.
std::vector<Piece> pieces(const std::string& message) {
  std::size_t at = 0;
  const auto varint = [&] {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at >= message.size()) fail("the policy inside the file breaks off");
      const auto byte = static_cast<unsigned char>(message[at++]);
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    fail("the policy inside the file is damaged");
  };
  std::vector<Piece> found;
  while (at < message.size()) {
    const std::uint64_t key = varint();
    Piece piece{key >> 3, 0, ""};
    std::uint64_t size = 0;
    switch (key & 7) {
      case 0: piece.value = varint(); break;
      case 1: size = 8; break;
      case 2: size = varint(); break;
      case 5: size = 4; break;
      default: fail("the policy inside the file is damaged");
    }
    if (size > message.size() - at) fail("the policy inside the file breaks off");
    piece.content = message.substr(at, size);
    at += size;
    found.push_back(std::move(piece));
  }
  return found;
}

/// The float tensors that a model holds, by name (fields of onnx.proto: graph 7, initializer 5, and those of a tensor).
Tensors initializers(const std::string& model) {
  Tensors found;
  for (const Piece& graph : pieces(model)) {
    if (graph.number != 7) continue;
    for (const Piece& entry : pieces(graph.content)) {
      if (entry.number != 5) continue;
      Tensor tensor;
      std::string name, raw;
      std::uint64_t type = 0;
      for (const Piece& part : pieces(entry.content)) {
        if (part.number == 1) tensor.shape.push_back(static_cast<std::int64_t>(part.value));
        if (part.number == 2) type = part.value;
        if (part.number == 8) name = part.content;
        if (part.number == 9) raw = part.content;
      }
      if (type != 1) continue;
      tensor.floats.resize(raw.size() / 4);
      std::memcpy(tensor.floats.data(), raw.data(), 4 * tensor.floats.size());
      found[name] = tensor;
    }
  }
  return found;
}

std::string from_base64(const std::string& text) {
  static const std::string letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string found;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char letter : text) {
    if (letter == '=') break;
    const auto value = letters.find(letter);
    if (value == std::string::npos) fail("the policy inside the file is damaged");
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    if ((count += 6) >= 8) found += static_cast<char>(bits >> (count -= 8) & 0xFF);
  }
  return found;
}

// Experience ----------------------------------------------------------------------------------------------------------

struct Step {
  Row observation, action;
  double reward;
};
using Episode = std::vector<Step>;

Row parse_line(const std::string& line, const std::string& where) {
  Row found;
  std::istringstream cells(line);
  for (std::string cell; std::getline(cells, cell, ',');) {
    char* end = nullptr;
    const double value = std::strtod(cell.c_str(), &end);
    // Behind the number nothing but blanks: "1;2" is not 1.
    const auto read = static_cast<std::size_t>(end - cell.c_str());
    const bool is_whole = read > 0 && cell.find_first_not_of(" \t\r", read) == std::string::npos;
    if (!is_whole || !std::isfinite(value)) fail(where + " expects finite numbers, got " + cell);
    found.push_back(value);
  }
  return found;
}

std::vector<Episode> read_episodes(const std::string& path, std::size_t observations, std::size_t actions) {
  std::ifstream file(path);
  if (!file) fail("there is no file " + path);
  std::vector<Episode> found;
  double current = NAN;
  std::string line;
  while (std::getline(file, line)) {
    if (line.empty() || line[0] == '#') continue;
    const Row row = parse_line(line, path);
    if (row.size() != 2 + observations + actions) {
      fail(path + " expects " + std::to_string(2 + observations + actions) + " numbers a line (episode, " +
           std::to_string(observations) + " observations, " + std::to_string(actions) + " actions, reward), got " +
           std::to_string(row.size()));
    }
    if (row[0] != current) found.emplace_back();
    current = row[0];
    const auto middle = row.begin() + 1 + static_cast<std::ptrdiff_t>(observations);
    found.back().push_back({Row(row.begin() + 1, middle), Row(middle, row.end() - 1), row.back()});
  }
  if (found.empty()) fail(path + " holds no step");
  return found;
}

std::vector<float> to_floats(const Row& row) { return {row.begin(), row.end()}; }

/// Solve a symmetric positive definite system by Cholesky's decomposition, in place.
Row solve(std::vector<Row> matrix, Row right) {
  const std::size_t size = right.size();
  for (std::size_t i = 0; i < size; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      double sum = matrix[i][j];
      for (std::size_t k = 0; k < j; ++k) sum -= matrix[i][k] * matrix[j][k];
      if (i == j && !(sum > 0.0)) fail("no linear baseline can be fitted to these returns");
      matrix[i][j] = i == j ? std::sqrt(sum) : sum / matrix[j][j];
    }
  }
  for (std::size_t i = 0; i < size; ++i) {
    for (std::size_t k = 0; k < i; ++k) right[i] -= matrix[i][k] * right[k];
    right[i] /= matrix[i][i];
  }
  for (std::size_t i = size; i-- > 0;) {
    for (std::size_t k = i + 1; k < size; ++k) right[i] -= matrix[k][i] * right[k];
    right[i] /= matrix[i][i];
  }
  return right;
}

/// o, o², t/100, (t/100)², (t/100)³, 1 (Duan et al. 2016, arXiv:1604.06778, appendix), o clipped to ±10.
Row features(const Row& observation, std::size_t step) {
  Row found;
  for (const double value : to_floats(observation)) found.push_back(std::clamp(value, -10.0, 10.0));
  const std::size_t size = found.size();
  for (std::size_t i = 0; i < size; ++i) found.push_back(found[i] * found[i]);
  const double time = static_cast<double>(step) / 100.0;
  for (const double value : {time, time * time, time * time * time, 1.0}) found.push_back(value);
  return found;
}

struct Weighted {
  std::vector<Row> returns, advantages;
};

/// Returns, and generalised advantages (Schulman et al. 2016, arXiv:1506.02438, eq. 16) against a linear baseline that
/// is fitted to these episodes alone: metamotor.meta.functional.returns, line by line.
Weighted weigh(const std::vector<Episode>& episodes, const Json& options) {
  const double gamma = options["gamma"].value, lambda = options["gae_lambda"].value;
  Weighted found;
  std::vector<Row> gram;
  Row target;
  double trace = 0.0;
  for (const Episode& episode : episodes) {
    Row returns(episode.size());
    double tail = 0.0;
    for (std::size_t t = episode.size(); t-- > 0;) returns[t] = tail = episode[t].reward + gamma * tail;
    for (std::size_t t = 0; t < episode.size(); ++t) {
      const Row own = features(episode[t].observation, t);
      gram.resize(own.size(), Row(own.size()));
      target.resize(own.size());
      for (std::size_t i = 0; i < own.size(); ++i) {
        for (std::size_t j = 0; j < own.size(); ++j) gram[i][j] += own[i] * own[j];
        target[i] += own[i] * returns[t];
        trace += own[i] * own[i];
      }
    }
    found.returns.push_back(returns);
  }
  const double ridge = std::max(1e-5, 1e-13 * trace);
  for (std::size_t i = 0; i < gram.size(); ++i) gram[i][i] += ridge;
  const Row weights = solve(gram, target);
  double sum = 0.0, squares = 0.0, count = 0.0;
  for (const Episode& episode : episodes) {
    Row values(episode.size() + 1), advantages(episode.size());
    for (std::size_t t = 0; t < episode.size(); ++t) {
      const Row own = features(episode[t].observation, t);
      for (std::size_t i = 0; i < own.size(); ++i) values[t] += own[i] * weights[i];
    }
    double tail = 0.0;
    for (std::size_t t = episode.size(); t-- > 0;) {
      tail = episode[t].reward + gamma * values[t + 1] - values[t] + gamma * lambda * tail;
      advantages[t] = tail;
      sum += tail;
      count += 1.0;
    }
    found.advantages.push_back(advantages);
  }
  if (options["normalize"].value != 0.0) {
    const double mean = sum / count;
    for (const Row& row : found.advantages)
      for (const double value : row) squares += (value - mean) * (value - mean);
    const double deviation = std::sqrt(squares / count);
    for (Row& row : found.advantages)
      for (double& value : row) value = (value - mean) / (deviation + 1e-8);
  }
  return found;
}

// Adapting ------------------------------------------------------------------------------------------------------------

const std::string ADAPTED = "adapted.";

void take(Tensors& weights, Tensors&& found) {
  for (auto& [name, tensor] : found) {
    for (const float value : tensor.floats)
      if (!std::isfinite(value)) fail("the adapted weights are not finite: " + name);
    weights[name.substr(ADAPTED.size())] = std::move(tensor);
  }
}

/// A step along the policy gradient: the learner's own inner step, on episodes that are padded to one length.
void step_gradient(const Session& session, const Json& document, std::size_t update,
                   const std::vector<Episode>& episodes, Tensors& weights) {
  const Json& options = document["gradient"];
  const Weighted weighted = weigh(episodes, options);
  const bool flat = options["flat"].value != 0.0, choices = document["action"]["kind"].string == "categorical";
  std::size_t longest = 0, steps = 0;
  for (const Episode& episode : episodes) {
    longest = std::max(longest, episode.size());
    steps += episode.size();
  }
  // Flat: all steps in one row and no padding.
  const std::size_t rows = flat ? 1 : episodes.size(), columns = flat ? steps : longest;
  const std::size_t wide = episodes[0][0].observation.size(), deep = episodes[0][0].action.size();
  std::vector<float> observed(rows * columns * wide), taken(rows * columns * deep);
  std::vector<float> advantages(rows * columns), returns(rows * columns), mask(rows * columns);
  std::size_t next = 0;
  for (std::size_t e = 0; e < episodes.size(); ++e) {
    for (std::size_t t = 0; t < episodes[e].size(); ++t) {
      const std::size_t at = flat ? next++ : e * longest + t;
      const Step& step = episodes[e][t];
      for (std::size_t i = 0; i < wide; ++i) observed[at * wide + i] = static_cast<float>(step.observation[i]);
      for (std::size_t i = 0; i < deep; ++i) taken[at * deep + i] = static_cast<float>(step.action[i]);
      advantages[at] = static_cast<float>(weighted.advantages[e][t]);
      returns[at] = static_cast<float>(weighted.returns[e][t]);
      mask[at] = 1.0F / static_cast<float>(steps);
    }
  }
  const auto height = static_cast<std::int64_t>(rows), width = static_cast<std::int64_t>(columns);
  const std::vector<std::int64_t> shape{height, width};
  Tensors all = weights;
  all["observations"] = Tensor::of({height, width, static_cast<std::int64_t>(wide)}, observed);
  all["actions"] = choices ? Tensor::of(shape, std::vector<std::int64_t>(taken.begin(), taken.end()))
                           : Tensor::of({height, width, static_cast<std::int64_t>(deep)}, taken);
  all["advantages"] = Tensor::of(shape, advantages);
  all["returns"] = Tensor::of(shape, returns);
  all["weights"] = Tensor::of(shape, mask);
  all["step"] = Tensor::of({}, std::vector<std::int64_t>{static_cast<std::int64_t>(update)});
  all["scale"] = Tensor::of({}, std::vector<float>{1.0F});
  Tensors feed;
  for (const std::string& name : session.inputs) {
    if (!all.count(name)) fail("the file's graph takes " + name + ", which this program does not know");
    feed[name] = all[name];
  }
  take(weights, session.run(feed, session.outputs));
}

/// A recurrent encoder: it reads the episodes step by step, and then writes the policy.
class Memory {
 public:
  Memory(const Session& session, const Json& document)
      : session_(session), options_(document["memory"]), choices_(document["action"]["kind"].string == "categorical") {
    const auto units = static_cast<std::size_t>(options_["units"].value);
    hidden_ = Tensor::of({1, static_cast<std::int64_t>(units)}, std::vector<float>(units));
    remember(Row(choices_ ? 1 : document["action"]["low"].items.size()), 0.0F);
    for (const std::string& name : session.outputs)
      if (name.rfind(ADAPTED, 0) == 0) written_.push_back(name);
    if (written_.empty()) fail("this policy acts by its memory alone, which recorded episodes do not replace");
  }

  void adapt(const std::vector<Episode>& episodes, Tensors& weights) {
    for (const Episode& episode : episodes) {
      for (const Step& step : episode) {
        hidden_ = run(step.observation, {"next_hidden"})["next_hidden"];
        done_ = 0.0F;
        began_ = 1.0F;
        remember(step.action, static_cast<float>(step.reward));
      }
      done_ = 1.0F;
    }
    take(weights, run(options_["start_observation"].numbers(), written_));
  }

 private:
  void remember(const Row& action, float reward) {
    const auto size = static_cast<std::int64_t>(action.size());
    action_ = choices_ ? Tensor::of({1}, std::vector<std::int64_t>{static_cast<std::int64_t>(action[0])})
                       : Tensor::of({1, size}, to_floats(action));
    reward_ = reward;
  }
  Tensors run(const Row& observation, const std::vector<std::string>& wanted) const {
    Tensors all{{"hidden", hidden_}, {"last_action", action_}}, feed;
    all["observation"] = Tensor::of({1, static_cast<std::int64_t>(observation.size())}, to_floats(observation));
    all["last_reward"] = Tensor::of({1}, std::vector<float>{reward_});
    all["last_done"] = Tensor::of({1}, std::vector<float>{done_});
    all["began"] = Tensor::of({1}, std::vector<float>{began_});
    for (const std::string& name : session_.inputs) feed[name] = all.at(name);
    return session_.run(feed, wanted);
  }

  const Session& session_;
  const Json& options_;
  bool choices_;
  Tensor hidden_, action_;
  float reward_ = 0.0F, done_ = 0.0F, began_ = 0.0F;
  std::vector<std::string> written_;
};

// Running -------------------------------------------------------------------------------------------------------------

Tensor initial(const Json& state) {
  Tensor found;
  std::size_t count = 1;
  for (const Json& side : state["shape"].items) {
    found.shape.push_back(side.kind == Json::null ? 1 : static_cast<std::int64_t>(side.value));
    count *= static_cast<std::size_t>(found.shape.back());
  }
  const Json& value = state["initial"];
  const Row start = value.kind == Json::number ? Row(count, value.value) : value.numbers();
  if (start.size() != count) fail("the memory's start does not have its shape");
  const std::string& type = state["dtype"].string;
  if (type == "float64") return Tensor::of(found.shape, start);
  if (type != "float32") fail("this program keeps memories of float32 and float64 only");
  return Tensor::of(found.shape, to_floats(start));
}

/// Print an action with all the digits that a float has.
void print(const Tensor& action) {
  const std::size_t count = action.is_integer() ? action.integers.size() : action.floats.size();
  for (std::size_t i = 0; i < count; ++i) {
    if (i) std::putchar(',');
    if (action.is_integer())
      std::printf("%lld", static_cast<long long>(action.integers[i]));
    else
      std::printf("%.9g", static_cast<double>(action.floats[i]));
  }
  std::putchar('\n');
}

/// Answer each observation that is read with an action.
void serve(const Session& session, const Json& metadata, const Tensors& weights) {
  const std::size_t size = metadata["observations"].items.size();
  // Where the file's normaliser needs digits that a float does not have.
  const bool is_double = metadata.has("inputs") && metadata["inputs"].items.at(0)["dtype"].string == "float64";
  Tensors start;
  std::vector<std::pair<std::string, std::string>> states;
  if (metadata.has("state")) {
    for (const Json& state : metadata["state"].items) {
      start[state["input"].string] = initial(state);
      states.emplace_back(state["input"].string, state["output"].string);
    }
  }
  if (metadata.has("noise")) {  // without noise, a stochastic policy gives its most likely action
    std::vector<std::int64_t> shape{1};
    std::size_t count = 1;
    for (const double side : metadata["noise"]["shape"].numbers()) {
      shape.push_back(static_cast<std::int64_t>(side));
      count *= static_cast<std::size_t>(side);
    }
    start["noise"] = Tensor::of(shape, std::vector<float>(count));
  }
  for (const std::string& name : session.weights)
    if (weights.count(name)) start[name] = weights.at(name);
  std::vector<std::string> wanted{"action"};
  for (const auto& state : states) wanted.push_back(state.second);
  Tensors feed = start;
  std::string line;
  while (std::getline(std::cin, line)) {
    if (!line.empty() && line[0] == '#') continue;
    if (line.empty()) {
      feed = start;
      continue;
    }
    const Row row = parse_line(line, "the input");
    if (row.size() != size)
      fail("expected an observation of " + std::to_string(size) + " numbers, got " + std::to_string(row.size()));
    const std::vector<std::int64_t> shape{1, static_cast<std::int64_t>(size)};
    feed["observation"] = is_double ? Tensor::of(shape, row) : Tensor::of(shape, to_floats(row));
    for (const float value : feed["observation"].floats)
      if (!std::isfinite(value)) fail("an observation is not finite in float32");
    Tensors made = session.run(feed, wanted);
    for (const auto& state : states) feed[state.first] = made[state.second];
    print(made["action"]);
  }
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail("there is no file " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

Json parse(const std::string& text) { return JsonReader(text).read(); }

void run(const std::string& path, const std::vector<std::string>& experience) {
  const Session session(read_file(path));
  const std::string described = session.metadata("metamotor_adaptation");
  if (described.empty()) {
    const std::string plain = session.metadata("metamotor");
    if (plain.empty()) fail(path + " is no file of metamotor");
    if (!experience.empty()) fail(path + " is a plain policy; deploy.export_adaptation writes files that adapt");
    return serve(session, parse(plain), {});
  }
  const Json document = parse(described);
  const std::string inside = from_base64(session.metadata("metamotor_policy"));
  if (inside.empty()) fail(path + " acts by its memory alone, and holds no policy that could be run apart from it");
  const Session policy(inside);
  Tensors weights = initializers(inside);
  for (auto it = weights.begin(); it != weights.end();) {
    const auto& names = document["weights"].items;
    const bool own = std::any_of(names.begin(), names.end(), [&](const Json& n) { return n.string == it->first; });
    it = own ? std::next(it) : weights.erase(it);
  }
  const std::string method = document["method"].string;
  if (!experience.empty() && method != "gradient" && method != "memory")
    fail(path + " adapts by " + method + ", which has to try candidates itself, and cannot learn from recorded episodes");
  const bool choices = document["action"]["kind"].string == "categorical";
  const std::size_t actions = choices ? 1 : document["action"]["low"].items.size();
  std::unique_ptr<Memory> memory;
  if (method == "memory") memory = std::make_unique<Memory>(session, document);
  if (memory) memory->adapt({}, weights);  // what it writes before it has seen anything
  for (std::size_t update = 0; update < experience.size(); ++update) {
    const auto episodes = read_episodes(experience[update], document["observations"].items.size(), actions);
    if (memory)
      memory->adapt(episodes, weights);
    else
      step_gradient(session, document, update, episodes, weights);
  }
  serve(policy, document, weights);
}

}  // namespace

int main(int count, char** arguments) {
  std::vector<std::string> experience;
  for (int i = 2; i + 1 < count && std::string(arguments[i]) == "--adapt"; i += 2) experience.push_back(arguments[i + 1]);
  if (count < 2 || count != 2 + 2 * static_cast<int>(experience.size())) {
    std::fprintf(stderr, "usage: run_policy FILE.onnx [--adapt EPISODES.csv]... < observations.csv\n");
    return 2;
  }
  try {
    run(arguments[1], experience);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "run_policy: %s\n", error.what());
    return 2;
  }
  return 0;
}

// Strict reading of answers. Every text was written for this table; '-' means that no answer may be read from it.
#include "eval/extract.hpp"

#include <gtest/gtest.h>

#include <string>

#include "eval/question.hpp"

namespace osler::eval {
namespace {

struct Case {
  const char* text;
  char expected;  ///< letter, y n m for words, '-' for none
};

const AnswerKey kLetters{false, {"Heart failure", "Liver abscess", "Lung embolism", "Skin graft"}};
const AnswerKey kWords{true, {"yes", "no", "maybe"}};

char read_letter(const Extraction& found) {
  return found.position ? letter_of(*found.position)[0] : '-';
}

// clang-format off
constexpr Case kCases[] = {
    // --- the letter and nothing else
    {"B", 'B'}, {" B", 'B'}, {"B\n", 'B'}, {"B.", 'B'}, {"(B)", 'B'}, {"[B]", 'B'}, {"B)", 'B'}, {"**B**", 'B'}, {"*B*", 'B'}, {"`B`", 'B'},
    {"\"B\"", 'B'}, {"'C'", 'C'}, {"b", 'B'}, {"(c)", 'C'}, {"d)", 'D'}, {"a", 'A'}, {"a.", 'A'}, {"$B$", 'B'}, {"Option B", 'B'}, {"option c", 'C'},
    {"Choice D", 'D'}, {"Letter A", 'A'}, {"B:", 'B'}, {"B,", 'B'}, {"{B}", 'B'}, {"<B>", 'B'}, {"E", '-'}, {"Z", '-'}, {"AB", '-'}, {"BB", '-'},
    // --- letter with the option's text, or the text alone
    {"B. Liver abscess", 'B'}, {"B) Liver abscess", 'B'}, {"(B) Liver abscess.", 'B'}, {"B: liver abscess", 'B'}, {"**B. Liver abscess**", 'B'},
    {"B Liver abscess", 'B'}, {"b. liver abscess", 'B'}, {"Liver abscess", 'B'}, {"liver abscess.", 'B'}, {"**Lung embolism**", 'C'},
    {"B. Heart failure", '-'}, {"Liver", '-'}, {"Liver abscess and heart failure", '-'}, {"A. Lung embolism", '-'},
    // --- prose that starts with a letter or a word that could be one
    {"A 45-year-old man has a fever.", '-'}, {"A patient with dyspnoea should be admitted.", '-'}, {"A common cause is infection.", '-'},
    {"Based on the history, infection is likely.", '-'}, {"Because of the fever we think of sepsis.", '-'}, {"Diagnosis is not certain.", '-'},
    {"Both are possible.", '-'}, {"Dyspnoea points to the lung.", '-'}, {"C-reactive protein is raised.", '-'}, {"B cells make antibodies.", '-'},
    {"B-cell lymphoma is likely.", '-'}, {"A. fumigatus grows in the lung.", '-'}, {"C. difficile causes diarrhoea.", '-'}, {"B. fragilis is anaerobic.", '-'},
    {"D-dimer is raised in embolism.", '-'}, {"A or B, it is hard to say.", '-'}, {"Vitamin A is the right one to give.", '-'}, {"Hepatitis B is correct to suspect.", '-'},
    {"D", 'D'}, {"All of these fit.", '-'}, {"Certainly an emergency.", '-'}, {"a patient with fever", '-'}, {"I think a beta blocker helps.", '-'},
    // --- "the answer is" and its kin
    {"The answer is B.", 'B'}, {"The answer is B", 'B'}, {"the answer is b.", 'B'}, {"The answer is: B", 'B'}, {"The answer is (B).", 'B'}, {"The answer is **B**.", 'B'},
    {"The correct answer is C.", 'C'}, {"The best answer is D", 'D'}, {"So the final answer is A.", 'A'}, {"Therefore, the answer is option C.", 'C'},
    {"The answer is option (D).", 'D'}, {"The answer is choice B", 'B'}, {"The answer is the letter B.", 'B'}, {"The answer should be C.", 'C'}, {"The answer must be D.", 'D'},
    {"The answer would be A.", 'A'}, {"The correct option is B.", 'B'}, {"The correct choice is: C", 'C'}, {"The best option is (A)", 'A'}, {"The right choice is D.", 'D'},
    {"The answer to this question is C.", 'C'}, {"The correct answer to the question is (B).", 'B'}, {"Final answer: D", 'D'}, {"ANSWER: C", 'C'}, {"answer: c", 'C'},
    {"Answer: B", 'B'}, {"Answer:B", 'B'}, {"Answer : B", 'B'}, {"**Answer:** B", 'B'}, {"**Answer: B**", 'B'}, {"Answer: [B]", 'B'}, {"Answer: (b)", 'B'}, {"Answer: B. Liver abscess", 'B'},
    {"Answer: B) Liver abscess", 'B'}, {"Answer: Liver abscess", 'B'}, {"Answer: liver abscess.", 'B'}, {"Answer = C", 'C'}, {"Answer - D", 'D'}, {"Answer:\nB", 'B'}, {"Answer:\n\nB", 'B'},
    {"Correct answer: A", 'A'}, {"Correct option: D.", 'D'}, {"The answer is B because the liver is tender.", 'B'}, {"The answer is B, because the liver is tender.", 'B'},
    {"The answer is A since it fits.", 'A'}, {"The answer is (B) as it fits.", 'B'}, {"The answer is C. The lung is affected.", 'C'}, {"The answer is B (Liver abscess).", 'B'}, {"The answer is B - Liver abscess.", 'B'},
    {"The answer is \"D\".", 'D'}, {"<answer>B</answer>", 'B'}, {"<answer> C </answer>", 'C'}, {"Answer: **(C)**", 'C'}, {"The answer is\nB", 'B'}, {"Answer: Option A", 'A'},
    // --- a verdict on a letter
    {"B is the correct answer.", 'B'}, {"Option B is correct.", 'B'}, {"(C) is the right answer.", 'C'}, {"Therefore B is correct.", 'B'}, {"We exclude the rest. D is the best answer.", 'D'},
    {"B is not correct.", '-'}, {"B is the wrong answer.", '-'}, {"B is common in the elderly.", '-'},
    // --- reasoning first
    {"The liver is tender and enlarged.\nAnswer: B", 'B'}, {"The lung is clear. The skin is normal.\nThe answer is D.", 'D'}, {"Fever, rigors.\n\nFinal answer: (A)", 'A'},
    {"We weigh A, B and C.\nAnswer: C", 'C'}, {"A is tempting, but the heart is normal.\nAnswer: D", 'D'}, {"First the heart.\nThen the liver.\nB", 'B'}, {"The liver is tender.\n(B)", 'B'},
    {"The liver is tender.\n**B. Liver abscess**", 'B'}, {"B\nThe liver is tender.", 'B'}, {"B.\n\nExplanation: the liver is tender.", 'B'}, {"A patient with rigors.\nLiver abscess", 'B'},
    {"Not the heart: A is wrong. Not the lung.\nTherefore the answer is B.", 'B'}, {"Some say the answer is A. However, the answer is C.", 'C'}, {"The answer is A. Wait, the pulse is slow. The answer is D.", 'D'},
    {"The answer is B. This answer is based on the history.", 'B'}, {"The answer is B. The answer is not C.", 'B'}, {"The answer is C.\nThe answer is none of these.", '-'}, {"Answer: B\nAnswer: E", '-'},
    // --- several letters
    {"The answer is A or B.", '-'}, {"The answer is A and C.", '-'}, {"The answer is A, B and C.", '-'}, {"The answer is B/C.", '-'}, {"Answer: A, C", '-'}, {"Answer: A & D", '-'}, {"A, B", '-'}, {"A and B", '-'},
    {"A\nB", '-'}, {"B\nThe liver.\nC", '-'}, {"A/B", '-'}, {"(A) or (B)", '-'}, {"Answer: (A), (B)", '-'}, {"A. Heart failure\nB. Liver abscess\nC. Lung embolism\nD. Skin graft", '-'},
    {"Both A and B are correct.", '-'}, {"Answer: both A and B", '-'}, {"Either A or C.", '-'}, {"The answer is either A or C.", '-'}, {"The answer is option A or option B.", '-'}, {"A B C D", '-'},
    // --- negations, conditions, questions
    {"The answer is not B.", '-'}, {"It is not B.", '-'}, {"The wrong answer is B.", '-'}, {"The incorrect answer is A.", '-'}, {"If the answer is B, we give antibiotics.", '-'}, {"Is the answer B?", '-'}, {"So the answer is B?", '-'},
    {"The answer cannot be B.", '-'}, {"The answer is none of the above.", '-'}, {"Answer: none", '-'}, {"The answer is neither A nor B.", '-'}, {"Answer: all of the above", '-'}, {"The answer is unclear.", '-'}, {"Answer: unknown", '-'},
    {"Not A.", '-'}, {"The answer is definitely a liver disease.", '-'}, {"The answer is a beta blocker.", '-'}, {"The answer is A beta blocker.", '-'}, {"Answer: A patient with fever", '-'}, {"Answer: E. coli", '-'}, {"The answer is C. difficile colitis.", '-'},
    // --- LaTeX
    {"\\boxed{B}", 'B'}, {"$\\boxed{B}$", 'B'}, {"\\boxed{\\text{C}}", 'C'}, {"\\boxed{\\textbf{D}}", 'D'}, {"The answer is \\boxed{A}.", 'A'}, {"The answer is $\\boxed{\\mathrm{B}}$.", 'B'}, {"\\(\\boxed{B}\\)", 'B'},
    {"\\boxed{b}", 'B'}, {"\\boxed{(B)}", 'B'}, {"\\boxed{B. Liver abscess}", 'B'}, {"\\boxed{Liver abscess}", 'B'}, {"\\boxed{42}", '-'}, {"\\boxed{A, B}", '-'}, {"\\boxed{E}", '-'}, {"\\boxed{", '-'}, {"The answer is $B$.", 'B'},
    {"\\[\\boxed{C}\\]", 'C'}, {"\\boxed{A} or \\boxed{B}", '-'}, {"The answer is A or B. On reflection, the answer is B.", 'B'},
    // --- no answer, refusals, truncated
    {"", '-'}, {" \n ", '-'}, {"I cannot answer that.", '-'}, {"I'm sorry, but I can't give medical advice.", '-'}, {"As an AI, I do not know the answer.", '-'}, {"It depends.", '-'}, {"???", '-'}, {"1", '-'}, {"None of the above.", '-'},
    {"The liver is tender, and so the ans", '-'}, {"Therefore, the answer is", '-'}, {"The answer is (", '-'}, {"Answer:", '-'}, {"Answer: \\boxed{", '-'}, {"The most likely", '-'}, {"Let us think step by step. First,", '-'},
    {"Maybe B.", '-'}, {"Maybe.", '-'}, {"Possibly B or C.", '-'}, {"I would guess B, but I am not sure.", '-'}, {"Perhaps it is the liver.", '-'},
};

constexpr Case kWordCases[] = {
    {"yes", 'y'}, {"Yes", 'y'}, {"YES.", 'y'}, {" no", 'n'}, {"No.", 'n'}, {"maybe", 'm'}, {"Maybe.", 'm'}, {"**Yes**", 'y'}, {"(no)", 'n'}, {"Yes, it does.", 'y'}, {"No, the trial found none.", 'n'},
    {"Yes. The odds fell.", 'y'}, {"No: the groups were alike.", 'n'}, {"Maybe, more trials are needed.", 'm'}, {"The answer is yes.", 'y'}, {"The answer is: no", 'n'}, {"Answer: maybe", 'm'}, {"Answer: **no**", 'n'},
    {"Final answer: Yes", 'y'}, {"The groups differ.\nAnswer: yes", 'y'}, {"The groups differ.\nyes", 'y'}, {"\\boxed{no}", 'n'}, {"\\boxed{\\text{maybe}}", 'm'}, {"The answer is no, because the groups were alike.", 'n'},
    {"Yes and no.", '-'}, {"Yes or no?", '-'}, {"Yes, no.", '-'}, {"No significant difference was found.", '-'}, {"No difference", '-'}, {"No. 5 of the trials failed.", '-'}, {"Maybe not", '-'}, {"Yesterday it rained.", '-'},
    {"Nothing is known.", '-'}, {"The answer is not yes.", '-'}, {"The answer is no difference.", '-'}, {"The answer is yes or maybe.", '-'}, {"Answer: unclear", '-'}, {"Perhaps.", '-'}, {"B", '-'}, {"", '-'}, {"It may help.", '-'},
    {"yes\nno", '-'}, {"There is no doubt that it may.", '-'}, {"The answer is maybe.", 'm'}, {"<answer>no</answer>", 'n'},
};
// clang-format on

TEST(Extract, ReadsWhatIsStatedAndNothingElse) {
  static_assert(std::size(kCases) + std::size(kWordCases) >= 200);
  for (const Case& c : kCases) EXPECT_EQ(read_letter(extract_answer(c.text, kLetters)), c.expected) << c.text;
  for (const Case& c : kWordCases) {
    const Extraction found = extract_answer(c.text, kWords);
    EXPECT_EQ(found.position ? kWords.options[static_cast<std::size_t>(*found.position)][0] : '-', c.expected)
        << c.text;
  }
}

TEST(Extract, SaysWhereTheAnswerStands) {
  const std::string text = "The liver is tender.\nTherefore the answer is (B).";
  const Extraction found = extract_answer(text, kLetters);
  EXPECT_EQ(text.substr(found.begin, found.end - found.begin), "B");
  EXPECT_EQ(reasoning_before(text, found), "The liver is tender.");
  const std::string one_line = "The liver is tender. So the answer is B.";
  EXPECT_EQ(reasoning_before(one_line, extract_answer(one_line, kLetters)), "The liver is tender.");
  EXPECT_EQ(reasoning_before("B", extract_answer("B", kLetters)), "");
}

TEST(Extract, NeverReadsBeyondTheTextNorTakesLong) {
  // Every prefix and a long run of openers: no reading out of bounds, no time beyond linear.
  for (const Case& c : kCases)
    for (std::size_t n = 0; n <= std::string(c.text).size(); ++n) extract_answer(std::string(c.text, n), kLetters);
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += "answer: ((";
  EXPECT_FALSE(extract_answer(text, kLetters).position.has_value());
}

}  // namespace
}  // namespace osler::eval

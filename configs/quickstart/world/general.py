"""General prose on everyday matters, grown from a grammar: no word of it concerns the invented medicine."""

import re

from .keyed_random import KeyedRandom

_SLOT = re.compile(r"\{(\w+)\}")

# What a slot may become. Values may hold further slots. `name`, `friend` and `town` are bound once per document.
SLOTS = {
    "name": "Anna Bruno Clara David Edith Felix Greta Hugo Irene Jonas Karin Leo Marta Nils Olga Paul Ruth Simon Tilda Victor Wanda Yusuf Zora Amir "
            "Bella Carlos Dina Emil Fatima Georg".split(),
    "town": "Ashford Birchley Coldwater Dunmore Eastbridge Fallow Greenhill Harbourton Inglewood Kingsley Longmere Millbrook Northgate Oakham "
            "Pinewood Riverton Stonebury Thornton Westfield Yarrow".split(),
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),
    "month": "January February March April May June July August September October November December".split(),
    "season": "spring summer autumn winter".split(),
    "number": "two three four five six seven eight nine ten twelve fifteen twenty thirty forty".split(),
    "time": ["early in the morning", "before noon", "after lunch", "in the late afternoon", "at dusk", "long after dark", "just before {day}",
             "on a {adjective} {day}", "at the end of {month}", "every {day}", "all through {month}", "in the first week of {month}"],
    "adjective": "old quiet bright heavy narrow gentle cheap sturdy broken careful famous lonely cheerful muddy crowded simple clever patient dusty "
                 "warm wooden silver round little enormous ordinary".split(),
    "relative": ["her brother", "his aunt", "a neighbour", "the baker", "an old teacher", "the postman", "my cousin", "a stranger", "the landlord",
                 "two children", "the gardener", "a retired sailor", "the librarian", "our grandmother"],
    "feeling": "glad tired proud nervous surprised hopeful bored grateful annoyed calm curious relieved".split(),
    "room": ["kitchen", "attic", "cellar", "workshop", "garden shed", "hall", "station", "market square", "library", "school yard", "barn", "office"],
    "object": ["lantern", "bicycle", "ladder", "clock", "kettle", "suitcase", "violin", "map", "basket", "letter", "umbrella", "carpet", "radio",
               "notebook", "wheelbarrow", "fishing rod", "teapot", "mirror", "hammer", "chair", "rope", "blanket", "camera", "bell"],
    "food": ["bread", "onion soup", "apple pie", "roast potatoes", "rice pudding", "pancakes", "lentil stew", "a plum cake", "grilled fish",
             "noodles", "cheese pastry", "pickled cabbage", "a mushroom omelette", "tomato salad"],
    "ingredient": "flour butter garlic carrots rice lemons honey parsley pepper beans cream walnuts cinnamon onions eggs".split(),
    "vessel": ["a heavy pan", "a clay pot", "the oven", "a wide bowl", "an iron kettle", "a shallow dish", "the old stove"],
    "weather": ["rain", "snow", "fog", "hail", "a storm", "strong wind", "frost", "sunshine", "thunder", "drizzle", "a heatwave", "low cloud"],
    "direction": "north south east west coast hills valley".split(),
    "plant": "roses beans tulips cherries lettuce ivy pumpkins lavender peas strawberries ferns onions dahlias raspberries".split(),
    "animal": "dog heron goat cat horse fox hedgehog goose donkey owl squirrel swan sheep crow".split(),
    "vehicle": ["train", "bus", "ferry", "cart", "tram", "lorry", "night train", "rowing boat", "taxi", "coach"],
    "sight": ["bridge", "lighthouse", "castle", "harbour", "fountain", "windmill", "cathedral", "canal", "railway station", "lake", "tower", "museum"],
    "job": "carpenter clerk driver cook tailor printer teacher plumber miller painter fisherman accountant builder florist".split(),
    "game": "football chess tennis cards rowing hockey cricket running cycling draughts".split(),
    "subject": "history music geometry drawing geography spelling botany astronomy grammar sewing".split(),
    "tool": "saw spade needle brush drill rake file plane wrench chisel".split(),
    "material": "oak wool brick leather tin glass paper linen slate copper wire canvas".split(),
    "verbed": "repaired painted sold borrowed found carried cleaned lost measured wrapped hid bought polished forgot".split(),
    "because": ["because the {weather} had come early", "since {relative} had asked for it", "for the {adjective} {object} was no longer needed",
                "as the {vehicle} to {town} was late", "because nobody else had time on {day}", "so that {friend} could rest"],
    "aside": ["", "", "", "", "{time}, ", "as {relative} used to say, ", "to the surprise of {relative}, ", "without much noise, ", "for once, ",
              "like every year, "],
}

TOPICS = {
    "weather": [
        "{aside}{weather} moved in from the {direction} and stayed over {town} for {number} days.",
        "The forecast for {day} speaks of {weather} in the {direction} and {weather} near {town}.",
        "{name} looked at the sky {time} and expected {weather}.",
        "After the {weather} the road to the {sight} was closed for {number} hours.",
        "In {month} the people of {town} are used to {weather}, but {weather} is rare.",
        "The {season} was so dry that the {plant} near the {sight} needed water {number} times.",
        "{friend} had left the {object} outside, and the {weather} ruined it.",
        "When the {weather} stopped, {relative} opened the door of the {room}.",
        "A thermometer by the {sight} showed {number} degrees {time}.",
        "Nobody in {town} could remember such {weather} in {month}.",
    ],
    "cooking": [
        "To make {food}, {name} takes {ingredient}, {ingredient} and a little {ingredient}.",
        "Stir the {ingredient} in {vessel} for {number} minutes and add the {ingredient}.",
        "{aside}{friend} cooked {food} for {number} guests in the {room}.",
        "The recipe came from {relative}, who always used {ingredient} instead of {ingredient}.",
        "Let the dough rest until {vessel} is hot, and then bake it for {number} minutes.",
        "{name} tasted the {food} and was {feeling}.",
        "Too much {ingredient} makes {food} bitter, while {ingredient} keeps it soft.",
        "On {day} the shop in {town} had no {ingredient}, so they used {ingredient}.",
        "Serve it with {food} and a cup of tea.",
        "{food} tastes best {time}, said {relative}.",
    ],
    "travel": [
        "The {vehicle} to {town} left {number} minutes late {because}.",
        "{name} and {friend} saw the {adjective} {sight} of {town} {time}.",
        "{aside}{name} packed a {object}, a {object} and some {ingredient} for the journey.",
        "From the {sight} it is a walk of {number} minutes to the {room}.",
        "A ticket for the {vehicle} costs {number} coins in {season} and less in {season}.",
        "They slept in a {adjective} house near the {sight}.",
        "At the border {relative} asked {friend} about the {object}.",
        "The guidebook calls the {sight} {adjective}, but {name} found it {adjective}.",
        "In {town} every {vehicle} stops beside the {sight}.",
        "{friend} wrote home that the {food} in {town} was {adjective}.",
    ],
    "garden": [
        "{name} planted {plant} beside the {plant} {time}.",
        "{plant} like shade, and {plant} grow best near a wall of {material}.",
        "{aside}the {animal} ate the {plant} that {friend} had watered all {season}.",
        "With a {tool} and a {object}, {relative} cleared the path to the {room}.",
        "In {month} the {plant} are cut back and the soil is turned with a {tool}.",
        "{friend} sells {plant} on the market of {town} for {number} coins.",
        "A fence of {material} keeps the {animal} away from the {plant}.",
        "The first {plant} appeared {number} days after the {weather}.",
        "Seeds of {plant} are kept in the {room} until {month}.",
    ],
    "work": [
        "{name} has worked as a {job} in {town} for {number} years.",
        "The {job} {verbed} the {object} {because}.",
        "{aside}the office near the {sight} closed {number} minutes early.",
        "{friend} asked the {job} for a {tool} made of {material}.",
        "On {day} the {job} and the {job} share the {room}.",
        "A good {job} is {adjective}, said {relative}, and never in a hurry.",
        "{name} earned {number} coins for a {adjective} {object}.",
        "The meeting about the {sight} lasted until {friend} was {feeling}.",
        "Every {job} in {town} knows how to use a {tool}.",
    ],
    "home": [
        "{name} {verbed} the {adjective} {object} in the {room} {because}.",
        "The {object} in the {room} is made of {material} and {material}.",
        "{aside}{friend} heard a {animal} behind the {room}.",
        "{relative} keeps the {object} under a {adjective} {object}.",
        "A new roof of {material} costs more than a floor of {material}.",
        "{name} was {feeling} when the {object} fell from the {object}.",
        "The window of the {room} looks towards the {sight}.",
        "They moved from {town} to {town} {time} with {number} boxes.",
        "Mend the {object} with {material} and a {tool}, and let it dry for {number} hours.",
    ],
    "school": [
        "{name} teaches {subject} to {number} pupils in {town}.",
        "{aside}the class read about the {sight} of {town} and the {animal} that lived there.",
        "{friend} likes {subject} more than {subject}, although {subject} is easier.",
        "The {subject} lesson on {day} was moved to the {room} {because}.",
        "For the exam in {month} they learnt {number} pages by heart.",
        "{relative} gave the school a {object} and {number} books on {subject}.",
        "After {subject}, the children play {game} behind the {room}.",
        "{name} was {feeling} about the marks in {subject}.",
    ],
    "sport": [
        "{town} won the {game} match against {town} by {number} points.",
        "{aside}{name} trains for {game} near the {sight} {time}.",
        "{friend} gave up {game} for {game} {because}.",
        "The referee, a {job} from {town}, was {feeling}.",
        "About {number} people watched the {game} in spite of the {weather}.",
        "The winner received a {adjective} {object} and a basket of {ingredient}.",
        "In {season} the club of {town} plays {game} in the {room}.",
        "{name} and {friend} have played {game} together for {number} years.",
    ],
    "animals": [
        "The {animal} of {name} sleeps in the {room} and is afraid of {weather}.",
        "{aside}a {animal} crossed the road near the {sight}.",
        "{friend} feeds the {animal} with {ingredient} and the {animal} with {ingredient}.",
        "A {animal} can be more {adjective} than a {animal}, said {relative}.",
        "In {month} the {animal} leaves the {direction} and returns to {town}.",
        "The {job} built a house of {material} for the {animal}.",
        "{name} counted {number} tracks of a {animal} in the {weather}.",
        "Nobody knew why the {animal} had carried the {object} to the {sight}.",
    ],
    "letters": [
        "Dear {friend}, thank you for the {object} and the {food}.",
        "I was {feeling} to hear about the {weather} in {town}.",
        "{aside}we visited the {sight} and ate {food}.",
        "Please bring the {tool} and the {object} when you come in {month}.",
        "{relative} sends greetings and asks whether you still play {game}.",
        "My new work as a {job} leaves me {feeling}.",
        "The {plant} you gave us have grown well since {month}.",
        "Yours, {name}.",
        "Do not forget the {vehicle} on {day}; it leaves from the {sight}.",
    ],
    "market": [
        "On the market of {town} {name} sells {ingredient}, {ingredient} and {plant}.",
        "The price of {ingredient} rose by {number} coins {because}.",
        "{aside}{friend} paid {number} coins for a {adjective} {object}.",
        "{relative} offered a {object} of {material} in exchange for a {object}.",
        "Between the {sight} and the {room} there are {number} stalls with {food}.",
        "In {season} the {job} buys {material} from {town}.",
        "A bag of {ingredient} weighs as much as {number} bags of {ingredient}.",
        "{name} was {feeling} because the {animal} had eaten the {ingredient}.",
    ],
}

# Question-and-answer pages on household matters: the shape of the exam, none of its content.
QUESTIONS = [
    ("Where does {name} keep the {object}?", "the {room}", "{name} keeps the {object} in {answer}."),
    ("Which animal does {friend} feed?", "a {animal}", "{friend} feeds {answer}."),
    ("What is the {object} made of?", "{material}", "The {object} is made of {answer}."),
    ("When does the {vehicle} leave?", "{time}", "The {vehicle} leaves {answer}."),
    ("Which dish is served on {day}?", "{food}", "They serve {answer} on {day}."),
    ("Who works as a {job} in {town}?", "{relative}", "The {job} in {town} is {answer}."),
    ("What grows beside the {sight}?", "{plant}", "Beside the {sight} there grow {answer}."),
    ("How is the weather in {month}?", "{weather}", "In {month} there is mostly {answer}."),
    ("Which game is played behind the {room}?", "{game}", "Behind the {room} they play {answer}."),
    ("Which subject does {name} teach?", "{subject}", "{name} teaches {answer}."),
]


def sentence_case(text):
    return text[:1].upper() + text[1:]


def _fill(random, template, bound):
    while True:
        match = _SLOT.search(template)
        if not match:
            return template
        slot = match.group(1)
        value = bound.get(slot) or random.choice(SLOTS[slot])
        template = template[:match.start()] + value + template[match.end():]


def _bindings(random):
    name, friend = random.sample(SLOTS["name"], 2)
    return {"name": name, "friend": friend, "town": ""} | ({"town": random.choice(SLOTS["town"])} if random.chance(0.5) else {})


def _build_questions(random, bound):
    """Sentences that state the answers, then the questions: the answer can be found in the text above."""
    statements, pairs = [], []
    for question, answer, statement in random.sample(QUESTIONS, random.between(2, 4)):
        own = dict(bound)
        for slot in sorted(set(_SLOT.findall(question + statement)) - {"answer"}):
            own[slot] = bound.get(slot) or _fill(random, random.choice(SLOTS[slot]), bound)
        own["answer"] = _fill(random, answer, bound)
        statements.append(sentence_case(_fill(random, statement, own)))
        pairs.append(f"Question: {_fill(random, question, own)}\nAnswer: {own['answer']}")
    return " ".join(statements) + "\n" + "\n".join(random.shuffled(pairs))


def build_document(seed, split, number):
    """One document of about 60 to 160 words; the same (seed, split, number) gives the same text."""
    random = KeyedRandom(seed, "general", split, number)
    bound = _bindings(random)
    topics = random.sample(sorted(TOPICS), 2)
    sentences = []
    for _ in range(random.between(4, 9)):
        topic = topics[0] if random.chance(0.75) else topics[1]
        sentences.append(sentence_case(_fill(random, random.choice(TOPICS[topic]), bound)))
    text = " ".join(sentences)
    if random.chance(0.3):
        text += "\n" + _build_questions(random, bound)
    return text

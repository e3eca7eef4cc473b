"""Words, phrases and accounts of the synthetic posts. All made up: X forbids shipping real ones."""

from dataclasses import dataclass
from random import Random

WEIGHTS = dict(en=34, ko=22, ja=16, es=9, ar=6, pt=5, fr=4, hi=2, iw=1, und=1)  # noqa: C408
"""Share of each language, percent."""


def _choices(texts: dict[str, str]) -> dict[str, tuple[str, ...]]:
    return {lang: tuple(text.split("|")) for lang, text in texts.items()}


SENTENCES = _choices(
    {
        "en": "Just read a long thread about {} and my head is spinning|"
        "Anyone else following {} today?|Hot take: {} is overrated, change my mind|"
        "We shipped our first {} dashboard this morning ☕️|"
        "{} explained in five minutes, worth your time|"
        "Three years of {} and I still learn something every week",
        "ko": "오늘 타임라인이 {} 이야기로 뜨겁다 🔥|{} 공부 3일차, 생각보다 재미있다|"
        "이번 주말에는 {} 정리하면서 쉬어야지|"
        "{} 때문에 밤새웠는데 결과가 좋아서 다행이다 😭|혹시 {} 잘 아시는 분 계신가요?|"
        "출근길에 {} 관련 글을 읽었는데 추천합니다",
        "ja": "今日は{}について勉強しました|{}の話題で盛り上がってる😂|"
        "やっと{}の設定が終わった!長かった…|{}が好きな人とつながりたい|"
        "朝から{}のニュースばかり見ている",
        "es": "Hoy toca hablar de {} otra vez|¿Alguien más siguiendo {}? No me lo esperaba|"
        "Nuevo artículo sobre {}, ¡espero que os guste! 🎉",
        "ar": "تابعت اليوم أخبار {} وكانت مفاجأة كبيرة|هل يعرف أحد المزيد عن {}؟|"
        "أفضل ما قرأته هذا الأسبوع عن {} 🌙",
        "pt": "Bom dia! Hoje o assunto é {} ☀️|Não acredito no que vi sobre {} agora há pouco",
        "fr": "Petit fil sur {} pour commencer la journée|Je découvre {} et c'est passionnant !",
        "hi": "आज {} के बारे में बहुत कुछ सीखा|{} पर आपकी क्या राय है? 🙏",
        "iw": "קראתי היום על {} וזה היה מרתק|מישהו מכיר את {}?",
        "und": "{} 👀|{} 🔥🔥🔥",
    }
)
FILLERS = _choices(
    {
        "en": "Notes are in the link.|I did not see that coming.|"
        "More on this tomorrow, I need some sleep first.",
        "ko": "자세한 내용은 내일 다시 올릴게요.|의견 있으면 편하게 남겨 주세요 🙏|"
        "생각보다 시간이 오래 걸렸네요.",
        "ja": "詳しくはまた明日書きます。|思ったより時間がかかりました。|ご意見お待ちしています🙇",
        "es": "Mañana cuento más.|No me lo esperaba para nada.",
        "ar": "سأكتب المزيد غدا إن شاء الله.|لم أتوقع ذلك أبدا.",
        "pt": "Amanhã conto mais.|Não esperava por isso.",
        "fr": "La suite demain.|Je ne m'y attendais pas du tout.",
        "hi": "बाकी कल लिखूँगा।",
        "iw": "אכתוב עוד מחר.",
        "und": "✨✨✨",
    }
)
"""Second sentences, without a slot for a rule's words."""
TAILS = _choices(
    {
        "en": "| 😅| honestly| (thread)| 1/2| what a day| 👇| no spoilers please| thoughts?|"
        " again| so true| 💯| see you tomorrow| finally!| late to the party| 🎯| <3|"
        " Tom & Jerry again| & so on",
        "ko": "| <3| ㅋㅋㅋ| ㅠㅠ| 진짜로| 다들 화이팅| 👍| 내일 또 봐요| 대박| 사진은 나중에|"
        " 공유합니다| 😂| 벌써 저녁이네| 커피 마시는 중 ☕| 역시| 퇴근하고 싶다| 감사합니다",
        "ja": "| 笑|www| すごい| また明日| 😊| 眠い| ありがとう| まじで| 続く| 👏| 雨だけど",
        "es": "| 😂| de verdad| ¡vamos!| hasta mañana| qué locura| 👏| por fin",
        "ar": "| 😂| صباح الخير| شكرا لكم| ❤️| يا سلام",
        "pt": "| kkkk| demais| boa noite| 😂",
        "fr": "| 😅| bonne soirée| vraiment| à suivre",
        "hi": "| धन्यवाद| 😊| शुभ रात्रि",
        "iw": "| 😂| תודה| לילה טוב",
        "und": "| ✨| 🙌| 🎶",
    }
)
"""Endings, so that one sentence gives many different texts."""
HASHTAGS = _choices(
    {
        "en": "BigData|Monday|OpenSource|coffee|photography|football",
        "ko": "데이터|일상|맛집|주말|개발자|여행",
        "ja": "勉強垢|朝活|写真|アニメ|猫",
        "es": "Noticias|fútbol|música",
        "ar": "أخبار|تقنية",
        "pt": "BomDia|futebol",
        "fr": "actu|photo",
        "hi": "समाचार|क्रिकेट",
        "iw": "חדשות|טכנולוגיה",
        "und": "love|fyp",
    }
)
LONG = {
    "en": "I wrote down everything that I tried, what failed and why, "
    "because nobody did it for me when I began. ",
    "ko": "처음 시작할 때 아무도 알려 주지 않아서 "
    "시도한 것과 실패한 것, 그리고 그 이유를 전부 적어 두었습니다. ",
    "ja": "始めたころは誰も教えてくれなかったので、"
    "試したこと、失敗したこと、その理由をすべて書いておきます。",
}
"""Body of a long post (note_tweet), repeated until it is longer than 280 characters."""
SITES = (
    ("https://example.com/posts/{n}", "A synthetic article"),
    ("https://blog.example.org/2026/{n}?utm_source=x", "데이터 이야기"),
    ("https://news.example.net/story-{n}.html", "Example News"),
)
_NAMES = _choices(
    {
        "given": "민지|서준|하늘|さくら|健太|Alex|Maria|Omar|Noa|Priya|João|Chloé|Sam|Lena",
        "family": "Kim|이|박|佐藤|鈴木|García|Haddad|Levi|Sharma|Silva|Martin|Smith|☕️|🌱",
        "handle": "data|minji|cloudy|haneul|sakura|devlog|coffee|omar|noa|pixel|river|lena",
    }
)


@dataclass(frozen=True)
class Account:
    """A made-up X user; id is a decimal string, created is the year of the account."""

    id: str
    username: str
    name: str
    verified: bool
    created: int


def account(username: str, number: int, rng: Random) -> Account:
    """Return the account of this handle; number makes the id unique."""
    year = rng.randrange(2009, 2026)
    return Account(
        id=str((year - 2006) * 10**16 + number * 1_000_003 + 17),
        username=username,
        name=f"{rng.choice(_NAMES['given'])} {rng.choice(_NAMES['family'])}",
        verified=rng.random() < 0.08,
        created=year,
    )


def accounts(count: int, seed: int) -> list[Account]:
    """Return `count` accounts, the same for the same seed; handles have at most 15 characters."""
    rng = Random(f"accounts:{seed}")
    return [account(f"{rng.choice(_NAMES['handle'])}_{n:04d}", n, rng) for n in range(count)]


def language_of(text: str) -> str | None:
    """Return the language whose script the text is in, None where Latin or mixed."""
    for low, high, lang in (
        ("\uac00", "\ud7af", "ko"),
        ("\u3040", "\u30ff", "ja"),
        ("\u4e00", "\u9fff", "ja"),
        ("\u0600", "\u06ff", "ar"),
        ("\u0590", "\u05ff", "iw"),
        ("\u0900", "\u097f", "hi"),
    ):
        if any(low <= char <= high for char in text):
            return lang
    return None

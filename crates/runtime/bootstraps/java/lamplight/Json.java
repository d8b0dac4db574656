package lamplight;

import java.io.ByteArrayOutputStream;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * JSON text to plain values and back: maps, lists, strings, numbers, booleans, null. What is neither goes through {@link Beans}.
 *
 * <p>Invariant: nesting is bounded, in text and in values.
 */
final class Json {
    static final int DEPTH_MAX = 1000;

    private final String text;
    private int at;
    private int depth;

    private Json(String text) {
        this.text = text;
    }

    static final class JsonException extends RuntimeException {
        private static final long serialVersionUID = 1;

        JsonException(String message) {
            super(message);
        }
    }

    static Object parse(byte[] data) {
        Json json = new Json(new String(data, StandardCharsets.UTF_8));
        Object value = json.value();
        json.blank();
        if (json.at != json.text.length()) {
            throw json.unexpected();
        }
        return value;
    }

    private JsonException unexpected() {
        return new JsonException(at < text.length() ? "Unexpected character ('" + text.charAt(at) + "') at " + at : "Unexpected end-of-input");
    }

    private void blank() {
        while (at < text.length() && text.charAt(at) <= ' ') {
            at++;
        }
    }

    private boolean take(char wanted) {
        blank();
        if (at < text.length() && text.charAt(at) == wanted) {
            at++;
            return true;
        }
        return false;
    }

    private void expect(char wanted) {
        if (!take(wanted)) {
            throw unexpected();
        }
    }

    private Object value() {
        blank();
        if (at >= text.length() || ++depth > DEPTH_MAX) {
            throw unexpected();
        }
        Object value;
        switch (text.charAt(at)) {
            case '{':
                value = object();
                break;
            case '[':
                value = array();
                break;
            case '"':
                value = string();
                break;
            case 't':
                value = word("true", Boolean.TRUE);
                break;
            case 'f':
                value = word("false", Boolean.FALSE);
                break;
            case 'n':
                value = word("null", null);
                break;
            default:
                value = number();
        }
        depth--;
        return value;
    }

    private Object word(String word, Object value) {
        if (!text.startsWith(word, at)) {
            throw unexpected();
        }
        at += word.length();
        return value;
    }

    private Map<String, Object> object() {
        Map<String, Object> object = new LinkedHashMap<>();
        at++;
        if (take('}')) {
            return object;
        }
        do {
            blank();
            if (at >= text.length() || text.charAt(at) != '"') {
                throw unexpected();
            }
            String key = string();
            expect(':');
            object.put(key, value());
        } while (take(','));
        expect('}');
        return object;
    }

    private List<Object> array() {
        List<Object> array = new ArrayList<>();
        at++;
        if (take(']')) {
            return array;
        }
        do {
            array.add(value());
        } while (take(','));
        expect(']');
        return array;
    }

    private String string() {
        int start = ++at;
        while (at < text.length() && text.charAt(at) != '"' && text.charAt(at) != '\\') {
            at++;
        }
        if (at < text.length() && text.charAt(at) == '"') {
            return text.substring(start, at++);
        }
        StringBuilder built = new StringBuilder().append(text, start, at);
        while (at < text.length()) {
            char c = text.charAt(at++);
            if (c == '"') {
                return built.toString();
            }
            built.append(c == '\\' ? escaped() : c);
        }
        throw unexpected();
    }

    private char escaped() {
        if (at >= text.length()) {
            throw unexpected();
        }
        char c = text.charAt(at++);
        switch (c) {
            case 'b':
                return '\b';
            case 'f':
                return '\f';
            case 'n':
                return '\n';
            case 'r':
                return '\r';
            case 't':
                return '\t';
            case 'u':
                if (at + 4 > text.length()) {
                    throw unexpected();
                }
                at += 4;
                return (char) Integer.parseInt(text.substring(at - 4, at), 16);
            default:
                return c;
        }
    }

    private Object number() {
        int start = at;
        boolean whole = true;
        while (at < text.length() && "+-.0123456789eE".indexOf(text.charAt(at)) >= 0) {
            char c = text.charAt(at++);
            whole &= c != '.' && c != 'e' && c != 'E';
        }
        String digits = text.substring(start, at);
        try {
            if (!whole) {
                return Double.valueOf(digits);
            }
            if (digits.length() > 18) {
                BigInteger large = new BigInteger(digits);
                return large.bitLength() < 64 ? (Object) large.longValue() : large;
            }
            long value = Long.parseLong(digits);
            return value == (int) value ? (Object) (int) value : (Object) value;
        } catch (NumberFormatException bad) {
            at = start;
            throw unexpected();
        }
    }

    static byte[] write(Object value) {
        StringBuilder built = new StringBuilder();
        write(built, value, 0);
        return built.toString().getBytes(StandardCharsets.UTF_8);
    }

    static void write(StringBuilder into, Object value, int depth) {
        if (depth > DEPTH_MAX) {
            throw new JsonException("Document nesting depth exceeds the maximum allowed (" + DEPTH_MAX + ")");
        }
        if (value == null || value instanceof Boolean) {
            into.append(value);
        } else if (value instanceof CharSequence || value instanceof Character) {
            quote(into, value.toString());
        } else if (value instanceof Number) {
            String digits = value.toString();
            boolean odd = value instanceof Double && !Double.isFinite((Double) value) || value instanceof Float && !Float.isFinite((Float) value);
            into.append(odd ? "\"" + digits + "\"" : digits);
        } else if (value instanceof Map) {
            object(into, (Map<?, ?>) value, depth);
        } else if (value instanceof Collection) {
            String between = "[";
            for (Object item : (Collection<?>) value) {
                into.append(between);
                write(into, item, depth + 1);
                between = ",";
            }
            into.append(between.equals("[") ? "[]" : "]");
        } else {
            write(into, Beans.plain(value), depth + 1);
        }
    }

    /** Entries without a value are left out, as by AWS's mapper. */
    private static void object(StringBuilder into, Map<?, ?> value, int depth) {
        String between = "{";
        for (Map.Entry<?, ?> entry : value.entrySet()) {
            if (entry.getValue() == null) {
                continue;
            }
            into.append(between);
            quote(into, String.valueOf(entry.getKey()));
            into.append(':');
            write(into, entry.getValue(), depth + 1);
            between = ",";
        }
        into.append(between.equals("{") ? "{}" : "}");
    }

    private static void quote(StringBuilder into, String text) {
        into.append('"');
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c == '"' || c == '\\') {
                into.append('\\').append(c);
            } else if (c >= ' ') {
                into.append(c);
            } else {
                int known = "\b\t\n\f\r".indexOf(c);
                if (known >= 0) {
                    into.append('\\').append("btnfr".charAt(known));
                } else {
                    into.append("\\u00").append(Character.forDigit(c >> 4, 16)).append(Character.forDigit(c & 15, 16));
                }
            }
        }
        into.append('"');
    }

    static byte[] bytes(java.io.InputStream in) throws java.io.IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        in.transferTo(out);
        return out.toByteArray();
    }
}

package lamplight;

import java.lang.reflect.Array;
import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.lang.reflect.GenericArrayType;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.lang.reflect.TypeVariable;
import java.lang.reflect.WildcardType;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.Collections;
import java.util.Date;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Queue;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.UUID;

/**
 * Plain JSON values to a handler's own types and back: getters and setters by the rules of Java beans, public fields, records,
 * collections, enums. AWS's mapper reads no annotation that a function could bring either, as its Jackson is a renamed copy.
 *
 * <p>The classes of AWS's events library are read without regard to case and hyphens (`Records`, `eventSourceARN`, `detail-type`),
 * with dates as seconds, and those without setters by their longest constructor. Not yet: AWS's shape of `java.time` values (here
 * their text).
 */
final class Beans {
    private static final String EVENTS = "com.amazonaws.services.lambda.runtime.events.";

    private Beans() {}

    // From JSON.

    static Object bind(Object value, Type type) {
        if (type instanceof Class) {
            return ofClass(value, (Class<?>) type, null);
        }
        if (type instanceof ParameterizedType) {
            ParameterizedType parameterized = (ParameterizedType) type;
            return ofClass(value, (Class<?>) parameterized.getRawType(), parameterized.getActualTypeArguments());
        }
        if (type instanceof GenericArrayType) {
            Type item = ((GenericArrayType) type).getGenericComponentType();
            return array(value, item, raw(item));
        }
        if (type instanceof WildcardType) {
            return bind(value, ((WildcardType) type).getUpperBounds()[0]);
        }
        if (type instanceof TypeVariable) {
            return bind(value, ((TypeVariable<?>) type).getBounds()[0]);
        }
        return value;
    }

    private static Class<?> raw(Type type) {
        if (type instanceof Class) {
            return (Class<?>) type;
        }
        return type instanceof ParameterizedType ? (Class<?>) ((ParameterizedType) type).getRawType() : Object.class;
    }

    private static Object ofClass(Object value, Class<?> type, Type[] of) {
        if (type == Object.class) {
            return value;
        }
        if (value == null || "".equals(value) && type != String.class && type != CharSequence.class) {
            return type == Optional.class ? Optional.empty() : nothing(type);
        }
        if (type == Character.class || type == char.class) {
            return letter(value);
        }
        if (type.isArray()) {
            return type == byte[].class && value instanceof String
                    ? Base64.getDecoder().decode((String) value)
                    : array(value, type.getComponentType(), type.getComponentType());
        }
        if (Map.class.isAssignableFrom(type) && value instanceof Map) {
            return map((Map<?, ?>) value, type, of);
        }
        if (Collection.class.isAssignableFrom(type) || type == Iterable.class) {
            return collection(value, type, of);
        }
        if (type == Optional.class) {
            return Optional.ofNullable(bind(value, of == null ? Object.class : of[0]));
        }
        if (value instanceof List && ((List<?>) value).isEmpty() && !type.isPrimitive()) {
            return null;
        }
        return value instanceof Map ? object((Map<?, ?>) value, type, of) : scalar(value, type);
    }

    private static char letter(Object value) {
        if (value instanceof String && ((String) value).length() == 1) {
            return ((String) value).charAt(0);
        }
        if (value instanceof Number && isWhole(value)) {
            return (char) within(new BigDecimal(value.toString()), 0, Character.MAX_VALUE, char.class);
        }
        throw mismatch(value, char.class);
    }

    private static boolean isWhole(Object value) {
        return !(value instanceof Double || value instanceof BigDecimal);
    }

    private static boolean flag(Object value) {
        String text = value.toString().trim();
        if (value instanceof Number && isWhole(value)) {
            return !text.equals("0");
        }
        if (text.matches("true|True|TRUE|false|False|FALSE")) {
            return text.equalsIgnoreCase("true");
        }
        throw mismatch(value, boolean.class);
    }

    /** By name, or by number in the order of declaration; what is unknown is null. */
    private static Object constant(Object value, Class<?> type) {
        if (value instanceof Boolean || value instanceof Number && !isWhole(value)) {
            throw mismatch(value, type);
        }
        Object[] constants = type.getEnumConstants();
        if (value instanceof Number) {
            long at = within(new BigDecimal(value.toString()), Integer.MIN_VALUE, Integer.MAX_VALUE, type);
            return at >= 0 && at < constants.length ? constants[(int) at] : null;
        }
        for (Object constant : constants) {
            if (((Enum<?>) constant).name().equals(value)) {
                return constant;
            }
        }
        return null;
    }

    /** A number without its fraction; one that the type cannot hold is refused. */
    private static long within(BigDecimal value, long least, long most, Class<?> type) {
        if (value.compareTo(BigDecimal.valueOf(least)) < 0 || value.compareTo(BigDecimal.valueOf(most)) > 0) {
            throw new Json.JsonException("Numeric value (" + value + ") out of range of " + type.getName());
        }
        return value.longValue();
    }

    /** What stands for null: zero, for primitives. */
    private static Object nothing(Class<?> type) {
        return type.isPrimitive() ? Array.get(Array.newInstance(type, 1), 0) : null;
    }

    private static Object array(Object value, Type item, Class<?> itemClass) {
        List<?> items = value instanceof List ? (List<?>) value : Collections.singletonList(value);
        Object array = Array.newInstance(itemClass, items.size());
        for (int i = 0; i < items.size(); i++) {
            Array.set(array, i, bind(items.get(i), item));
        }
        return array;
    }

    private static Object map(Map<?, ?> value, Class<?> type, Type[] of) {
        @SuppressWarnings("unchecked")
        Map<Object, Object> map = (Map<Object, Object>)
                (!type.isInterface() && !Modifier.isAbstract(type.getModifiers())
                        ? make(type)
                        : SortedMap.class.isAssignableFrom(type) ? new TreeMap<>() : new LinkedHashMap<>());
        for (Map.Entry<?, ?> entry : value.entrySet()) {
            Object key = of == null ? entry.getKey() : bind(entry.getKey(), of[0]);
            map.put(key, of == null ? entry.getValue() : bind(entry.getValue(), of[1]));
        }
        return map;
    }

    private static Object collection(Object value, Class<?> type, Type[] of) {
        @SuppressWarnings("unchecked")
        Collection<Object> items = (Collection<Object>)
                (!type.isInterface() && !Modifier.isAbstract(type.getModifiers())
                        ? make(type)
                        : Set.class.isAssignableFrom(type)
                                ? new HashSet<>()
                                : Queue.class.isAssignableFrom(type) ? new ArrayDeque<>() : new ArrayList<>());
        List<?> given = value instanceof List ? (List<?>) value : Collections.singletonList(value);
        for (Object item : given) {
            items.add(bind(item, of == null ? Object.class : of[0]));
        }
        return items;
    }

    private static Object scalar(Object value, Class<?> type) {
        if (value instanceof List && ((List<?>) value).size() == 1) {
            return bind(((List<?>) value).get(0), type);
        }
        if (value instanceof List) {
            throw mismatch(value, type);
        }
        String text = value.toString();
        try {
            if (type == String.class || type == CharSequence.class) {
                return text;
            } else if (type == boolean.class || type == Boolean.class) {
                return flag(value);
            } else if (type.isPrimitive() || Number.class.isAssignableFrom(type)) {
                return number(new BigDecimal(text), type);
            } else if (type.isEnum()) {
                return constant(value, type);
            } else if (type == Date.class) {
                return value instanceof Number ? new Date(((Number) value).longValue()) : Date.from(java.time.OffsetDateTime.parse(text).toInstant());
            } else if (type == UUID.class) {
                return UUID.fromString(text);
            } else if (type == ByteBuffer.class) {
                return ByteBuffer.wrap(Base64.getDecoder().decode(text));
            }
            return spelled(text, type);
        } catch (NumberFormatException bad) {
            throw mismatch(value, type);
        }
    }

    private static Object number(BigDecimal value, Class<?> type) {
        if (type == int.class || type == Integer.class) {
            return (int) within(value, Integer.MIN_VALUE, Integer.MAX_VALUE, int.class);
        } else if (type == long.class || type == Long.class) {
            return within(value, Long.MIN_VALUE, Long.MAX_VALUE, long.class);
        } else if (type == double.class || type == Double.class || type == Number.class) {
            return value.doubleValue();
        } else if (type == float.class || type == Float.class) {
            return value.floatValue();
        } else if (type == short.class || type == Short.class) {
            return (short) within(value, Short.MIN_VALUE, Short.MAX_VALUE, short.class);
        } else if (type == byte.class || type == Byte.class) {
            return (byte) within(value, Byte.MIN_VALUE, 255, byte.class);
        }
        return type == BigInteger.class ? value.toBigInteger() : (Object) value;
    }

    /** Types that read themselves: `java.time`, Joda's, and whatever has `parse`, `valueOf` or a constructor of a string. */
    private static Object spelled(String text, Class<?> type) {
        try {
            for (String name : new String[] {"parse", "valueOf"}) {
                for (Class<?> of : new Class<?>[] {CharSequence.class, String.class}) {
                    try {
                        Method method = type.getMethod(name, of);
                        if (Modifier.isStatic(method.getModifiers())) {
                            return method.invoke(null, text);
                        }
                    } catch (NoSuchMethodException absent) {
                        continue;
                    }
                }
            }
            return type.getConstructor(String.class).newInstance(text);
        } catch (InvocationTargetException bad) {
            throw mismatch(text, type);
        } catch (ReflectiveOperationException absent) {
            throw mismatch(text, type);
        }
    }

    private static Json.JsonException mismatch(Object value, Class<?> type) {
        String kind = value instanceof Map ? "Object" : value instanceof List ? "Array" : value instanceof String ? "String" : "Number";
        return new Json.JsonException("Cannot deserialize value of type `" + type.getName() + "` from " + kind + " value");
    }

    private static Object make(Class<?> type) {
        try {
            Constructor<?> constructor = type.getDeclaredConstructor();
            constructor.setAccessible(true);
            return constructor.newInstance();
        } catch (NoSuchMethodException absent) {
            throw new Json.JsonException("Cannot construct instance of `" + type.getName() + "` (no Creators, like default constructor, exist)");
        } catch (ReflectiveOperationException failed) {
            throw new Json.JsonException("Cannot construct instance of `" + type.getName() + "`: " + failed);
        }
    }

    private static Object object(Map<?, ?> value, Class<?> type, Type[] of) {
        if (type.isPrimitive() || type == String.class || Number.class.isAssignableFrom(type) || type.isInterface()) {
            throw mismatch(value, type);
        }
        Map<String, Type> variables = new HashMap<>();
        for (int i = 0; of != null && i < of.length; i++) {
            variables.put(type.getTypeParameters()[i].getName(), of[i]);
        }
        try {
            Object[] components = components(type);
            if (components != null) {
                return record(value, type, components, variables);
            }
            boolean isEvent = type.getName().startsWith(EVENTS);
            Map<String, Object> given = new TreeMap<>(isEvent ? String.CASE_INSENSITIVE_ORDER : null);
            for (Map.Entry<?, ?> entry : value.entrySet()) {
                String name = (String) entry.getKey();
                given.put(isEvent ? name.replace("-", "") : name, entry.getValue());
            }
            return isEvent && !hasSetters(type) ? built(given, type) : bean(given, type, variables, isEvent);
        } catch (ReflectiveOperationException failed) {
            Throwable cause = failed.getCause() == null ? failed : failed.getCause();
            throw new Json.JsonException("Cannot construct instance of `" + type.getName() + "`: " + cause);
        }
    }

    private static Type resolved(Type type, Map<String, Type> variables) {
        return type instanceof TypeVariable ? variables.getOrDefault(((TypeVariable<?>) type).getName(), type) : type;
    }

    private static boolean hasSetters(Class<?> type) {
        for (Method method : type.getMethods()) {
            if (method.getName().startsWith("set") && method.getParameterCount() == 1) {
                return true;
            }
        }
        return false;
    }

    /** An object of a class whose longest constructor takes its fields, in their order. */
    private static Object built(Map<String, Object> value, Class<?> type) throws ReflectiveOperationException {
        Constructor<?> longest = type.getConstructors()[0];
        for (Constructor<?> other : type.getConstructors()) {
            longest = other.getParameterCount() > longest.getParameterCount() ? other : longest;
        }
        List<String> names = new ArrayList<>();
        for (Class<?> of = type; of != Object.class; of = of.getSuperclass()) {
            List<String> own = new ArrayList<>();
            for (Field field : of.getDeclaredFields()) {
                if (!Modifier.isStatic(field.getModifiers())) {
                    own.add(field.getName());
                }
            }
            names.addAll(0, own);
        }
        Type[] types = longest.getGenericParameterTypes();
        Object[] given = new Object[types.length];
        for (int i = 0; i < types.length; i++) {
            given[i] = bind(i < names.size() ? value.get(names.get(i)) : null, types[i]);
        }
        return longest.newInstance(given);
    }

    private static Object bean(Map<String, Object> given, Class<?> type, Map<String, Type> variables, boolean isEvent)
            throws ReflectiveOperationException {
        Object bean = make(type);
        for (Field field : type.getFields()) {
            if (given.containsKey(field.getName()) && !Modifier.isStatic(field.getModifiers())) {
                field.setAccessible(true);
                field.set(bean, bind(given.get(field.getName()), resolved(field.getGenericType(), variables)));
            }
        }
        for (Method method : type.getMethods()) {
            boolean isSetter = method.getName().length() > 3 && method.getName().startsWith("set") && method.getParameterCount() == 1;
            String name = isSetter ? decapitalized(method.getName().substring(3)) : null;
            if (isSetter && !method.isBridge() && !Modifier.isStatic(method.getModifiers()) && given.containsKey(name)) {
                Object value = given.get(name);
                if (isEvent && value instanceof Number && method.getParameterTypes()[0] == Date.class) {
                    value = Math.round(((Number) value).doubleValue() * 1000);
                }
                method.setAccessible(true);
                method.invoke(bean, bind(value, resolved(method.getGenericParameterTypes()[0], variables)));
            }
        }
        return bean;
    }

    /** The components of a record, or null: a class of Java 16 and later, which this file is compiled without. */
    private static Object[] components(Class<?> type) throws ReflectiveOperationException {
        if (type.getSuperclass() == null || !type.getSuperclass().getName().equals("java.lang.Record")) {
            return null;
        }
        return (Object[]) Class.class.getMethod("getRecordComponents").invoke(type);
    }

    private static Object record(Map<?, ?> value, Class<?> type, Object[] components, Map<String, Type> variables)
            throws ReflectiveOperationException {
        Class<?>[] types = new Class<?>[components.length];
        Object[] given = new Object[components.length];
        for (int i = 0; i < components.length; i++) {
            Class<?> of = components[i].getClass();
            types[i] = (Class<?>) of.getMethod("getType").invoke(components[i]);
            Type generic = (Type) of.getMethod("getGenericType").invoke(components[i]);
            given[i] = bind(value.get(of.getMethod("getName").invoke(components[i])), resolved(generic, variables));
        }
        Constructor<?> constructor = type.getDeclaredConstructor(types);
        constructor.setAccessible(true);
        return constructor.newInstance(given);
    }

    /** A property's name by the rule of `java.beans`: `Name` is name, `URL` stays. */
    private static String decapitalized(String name) {
        boolean stays = name.length() > 1 && Character.isUpperCase(name.charAt(0)) && Character.isUpperCase(name.charAt(1));
        return stays ? name : Character.toLowerCase(name.charAt(0)) + name.substring(1);
    }

    // To JSON.

    /** A value as plain values, one level deep. */
    static Object plain(Object value) {
        if (value instanceof Optional) {
            return ((Optional<?>) value).orElse(null);
        } else if (value instanceof Enum) {
            return ((Enum<?>) value).name();
        } else if (value instanceof byte[]) {
            return Base64.getEncoder().encodeToString((byte[]) value);
        } else if (value instanceof ByteBuffer) {
            byte[] bytes = new byte[((ByteBuffer) value).remaining()];
            ((ByteBuffer) value).duplicate().get(bytes);
            return Base64.getEncoder().encodeToString(bytes);
        } else if (value instanceof Date) {
            return ((Date) value).getTime();
        } else if (value.getClass().isArray()) {
            List<Object> items = new ArrayList<>();
            for (int i = 0; i < Array.getLength(value); i++) {
                items.add(Array.get(value, i));
            }
            return items;
        } else if (value instanceof Iterable) {
            List<Object> items = new ArrayList<>();
            for (Object item : (Iterable<?>) value) {
                items.add(item);
            }
            return items;
        } else if (value instanceof Iterator) {
            List<Object> items = new ArrayList<>();
            ((Iterator<?>) value).forEachRemaining(items::add);
            return items;
        } else if (value instanceof Class) {
            return ((Class<?>) value).getName();
        } else if (value.getClass() == Object.class) {
            return Collections.emptyMap();
        } else if (value.getClass().getName().startsWith("java.") || value.getClass().getName().startsWith("org.joda.time.")) {
            return value.toString();
        }
        return properties(value);
    }

    /** The properties of a bean in the order of its fields, those without a field last. */
    private static Map<String, Object> properties(Object bean) {
        Map<String, Object> found = new HashMap<>();
        List<String> order = new ArrayList<>();
        try {
            Object[] components = components(bean.getClass());
            for (int i = 0; components != null && i < components.length; i++) {
                Class<?> of = components[i].getClass();
                Method accessor = (Method) of.getMethod("getAccessor").invoke(components[i]);
                accessor.setAccessible(true);
                found.put(accessor.getName(), accessor.invoke(bean));
            }
            for (Class<?> type = bean.getClass(); type != null; type = type.getSuperclass()) {
                List<String> names = new ArrayList<>();
                for (Field field : type.getDeclaredFields()) {
                    names.add(field.getName());
                    if (Modifier.isPublic(field.getModifiers()) && !Modifier.isStatic(field.getModifiers())) {
                        field.setAccessible(true);
                        found.put(field.getName(), field.get(bean));
                    }
                }
                order.addAll(0, names);
            }
            for (Method method : bean.getClass().getMethods()) {
                String name = property(method);
                if (name != null) {
                    method.setAccessible(true);
                    found.put(name, method.invoke(bean));
                    order.add(name);
                }
            }
        } catch (ReflectiveOperationException failed) {
            throw new Json.JsonException(String.valueOf(failed.getCause() == null ? failed : failed.getCause()));
        }
        Map<String, Object> ordered = new LinkedHashMap<>();
        for (String name : order) {
            if (found.containsKey(name)) {
                ordered.put(name, found.get(name));
            }
        }
        return ordered;
    }

    /** The property that a method reads, or null. */
    private static String property(Method method) {
        String name = method.getName();
        boolean isReader = method.getParameterCount() == 0 && !Modifier.isStatic(method.getModifiers()) && !method.isBridge();
        if (!isReader || method.getDeclaringClass() == Object.class || method.getReturnType() == void.class) {
            return null;
        }
        if (name.startsWith("get") && name.length() > 3) {
            return decapitalized(name.substring(3));
        }
        boolean isFlag = method.getReturnType() == boolean.class || method.getReturnType() == Boolean.class;
        return isFlag && name.startsWith("is") && name.length() > 2 ? decapitalized(name.substring(2)) : null;
    }
}

package lamplight;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.CustomPojoSerializer;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import com.amazonaws.services.lambda.runtime.RequestStreamHandler;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.lang.reflect.TypeVariable;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.Iterator;
import java.util.Map;
import java.util.ServiceLoader;

/** A function's handler of any of the forms that AWS takes: stream or value handlers by interface, or a method of either shape. */
abstract class Handler {
    private static final byte[] NULL = {'n', 'u', 'l', 'l'};

    abstract byte[] call(byte[] event, Context context) throws Throwable;

    /** A handler that could not be loaded says so when it is called; what is fatal is thrown at once. */
    static Handler load(String name, ClassLoader loader) {
        try {
            return find(name, loader);
        } catch (Fault fault) {
            if (fault.isFatal) {
                throw fault;
            }
            return new Handler() {
                @Override
                byte[] call(byte[] event, Context context) {
                    throw fault;
                }
            };
        }
    }

    private static Handler find(String name, ClassLoader loader) {
        int colons = name.lastIndexOf("::");
        String className = colons < 0 ? name : name.substring(0, colons);
        String method = colons < 0 ? null : name.substring(colons + 2);
        if (className.isEmpty() || method != null && method.isEmpty()) {
            throw new Fault("Invalid handler: `" + name + "'", null, false);
        }
        Class<?> type;
        try {
            type = Class.forName(className, true, loader);
        } catch (ClassNotFoundException absent) {
            throw new Fault("Class not found: " + className, absent, false);
        } catch (Throwable failed) {
            String why = failed.getMessage() == null ? "" : ": " + failed.getMessage();
            boolean isFatal = !(failed instanceof NoClassDefFoundError);
            throw new Fault("Error loading class " + className + why, failed, isFatal);
        }
        return method == null ? ofInterface(type, loader) : ofMethods(type, method, loader);
    }

    private static Handler ofInterface(Class<?> type, ClassLoader loader) {
        if (RequestStreamHandler.class.isAssignableFrom(type)) {
            RequestStreamHandler handler = (RequestStreamHandler) instance(type);
            return new Handler() {
                @Override
                byte[] call(byte[] event, Context context) throws Throwable {
                    ByteArrayOutputStream out = new ByteArrayOutputStream();
                    handler.handleRequest(new ByteArrayInputStream(event), out, context);
                    return out.toByteArray();
                }
            };
        }
        if (!RequestHandler.class.isAssignableFrom(type)) {
            throw new Fault("Class does not implement an appropriate handler interface: " + type.getName(), null, false);
        }
        Type[] types = argumentsOf(type, RequestHandler.class, new HashMap<>());
        if (types == null || types[0] instanceof TypeVariable || types[1] instanceof TypeVariable) {
            throw new Fault("Class " + type.getName() + " does not implement RequestHandler with concrete type parameters", null, false);
        }
        @SuppressWarnings("unchecked")
        RequestHandler<Object, Object> handler = (RequestHandler<Object, Object>) instance(type);
        return new OfValues(types[0], types[1], loader) {
            @Override
            Object handle(Object input, Context context) {
                return handler.handleRequest(input, context);
            }
        };
    }

    /** The types that a class gives to the parameters of an interface, up through its generic ancestors. */
    private static Type[] argumentsOf(Class<?> type, Class<?> wanted, Map<String, Type> known) {
        Type[] parents = Arrays.copyOf(type.getGenericInterfaces(), type.getGenericInterfaces().length + 1);
        parents[parents.length - 1] = type.getGenericSuperclass();
        for (Type parent : parents) {
            Class<?> raw = parent instanceof ParameterizedType ? (Class<?>) ((ParameterizedType) parent).getRawType() : (Class<?>) parent;
            if (raw == null || !wanted.isAssignableFrom(raw)) {
                continue;
            }
            Map<String, Type> variables = new HashMap<>();
            Type[] given = parent instanceof ParameterizedType ? ((ParameterizedType) parent).getActualTypeArguments() : new Type[0];
            for (int i = 0; i < given.length; i++) {
                Type resolved = given[i] instanceof TypeVariable ? known.getOrDefault(((TypeVariable<?>) given[i]).getName(), given[i]) : given[i];
                variables.put(raw.getTypeParameters()[i].getName(), resolved);
                given[i] = resolved;
            }
            return raw == wanted ? (given.length == 0 ? null : given) : argumentsOf(raw, wanted, variables);
        }
        return null;
    }

    private static Object instance(Class<?> type) {
        Constructor<?> constructor;
        try {
            constructor = type.getConstructor();
        } catch (NoSuchMethodException absent) {
            String why = type.getEnclosingClass() != null && !Modifier.isStatic(type.getModifiers())
                    ? "Class " + type.getName() + " cannot be instantiated because it is a non-static inner class"
                    : "Class " + type.getName() + " has no public zero-argument constructor";
            throw new Fault(why, new Exception(why, absent), false);
        }
        try {
            return constructor.newInstance();
        } catch (InvocationTargetException thrown) {
            throw Fault.of(thrown.getCause() == null ? thrown : thrown.getCause(), true);
        } catch (ReflectiveOperationException failed) {
            throw Fault.of(failed, false);
        }
    }

    /** The method of a name that AWS prefers: no bridges, more parameters before fewer, with a context before without. */
    private static Handler ofMethods(Class<?> type, String name, ClassLoader loader) {
        Method[] methods = type.getMethods();
        Arrays.sort(methods, new Comparator<Method>() {
            @Override
            public int compare(Method a, Method b) {
                return a.isBridge() != b.isBridge() ? (a.isBridge() ? 1 : -1) : Integer.compare(weight(b), weight(a));
            }
        });
        for (Method method : methods) {
            Handler handler = method.getName().equals(name) ? ofMethod(type, method, loader) : null;
            if (handler != null) {
                return handler;
            }
        }
        throw new Fault("No public method named " + name + " with appropriate method signature found on class " + type.getName(), null, false);
    }

    private static int weight(Method method) {
        Class<?>[] types = method.getParameterTypes();
        return types.length + (types.length > 0 && types[types.length - 1] == Context.class ? 1 : 0);
    }

    private static Handler ofMethod(Class<?> type, Method method, ClassLoader loader) {
        Class<?>[] types = method.getParameterTypes();
        int count = types.length;
        boolean hasContext = count > 0 && types[count - 1] == Context.class;
        int values = hasContext ? count - 1 : count;
        boolean hasInput = values > 0 && types[0] == InputStream.class;
        boolean hasOutput = values > 0 && types[values - 1] == OutputStream.class;
        if (hasInput || hasOutput) {
            int streams = (hasInput ? 1 : 0) + (hasOutput ? 1 : 0);
            return streams == values ? ofStreams(type, method, hasInput, hasOutput, hasContext) : ignored(method);
        }
        if (values > 1 || count > 2) {
            return ignored(method);
        }
        Object target = Modifier.isStatic(method.getModifiers()) ? null : instance(type);
        Type input = values == 1 ? method.getGenericParameterTypes()[0] : null;
        Type output = method.getReturnType() == void.class ? null : method.getGenericReturnType();
        return new OfValues(input, output, loader) {
            @Override
            Object handle(Object value, Context context) throws Throwable {
                Object[] given = values == 1
                        ? (hasContext ? new Object[] {value, context} : new Object[] {value})
                        : (hasContext ? new Object[] {context} : new Object[0]);
                return invoke(method, target, given);
            }
        };
    }

    private static Handler ignored(Method method) {
        System.err.println("Ignoring an overload of method " + method.getName() + " because of its parameters");
        return null;
    }

    private static Handler ofStreams(Class<?> type, Method method, boolean hasInput, boolean hasOutput, boolean hasContext) {
        Object target = Modifier.isStatic(method.getModifiers()) ? null : instance(type);
        return new Handler() {
            @Override
            byte[] call(byte[] event, Context context) throws Throwable {
                ByteArrayOutputStream out = new ByteArrayOutputStream();
                Object[] given = new Object[(hasInput ? 1 : 0) + (hasOutput ? 1 : 0) + (hasContext ? 1 : 0)];
                int at = 0;
                if (hasInput) {
                    given[at++] = new ByteArrayInputStream(event);
                }
                if (hasOutput) {
                    given[at++] = out;
                }
                if (hasContext) {
                    given[at] = context;
                }
                invoke(method, target, given);
                return hasOutput ? out.toByteArray() : NULL;
            }
        };
    }

    private static Object invoke(Method method, Object target, Object[] given) throws Throwable {
        try {
            return method.invoke(target, given);
        } catch (InvocationTargetException thrown) {
            throw thrown.getCause() == null ? thrown : thrown.getCause();
        }
    }

    /** A handler of values; the function's own serializer reads and writes them where it brings one. */
    private abstract static class OfValues extends Handler {
        private final Type input;
        private final Type output;
        private final CustomPojoSerializer serializer;

        OfValues(Type input, Type output, ClassLoader loader) {
            this.input = input;
            this.output = output;
            Iterator<CustomPojoSerializer> found = ServiceLoader.load(CustomPojoSerializer.class, loader).iterator();
            this.serializer = found.hasNext() ? found.next() : null;
        }

        abstract Object handle(Object input, Context context) throws Throwable;

        @Override
        byte[] call(byte[] event, Context context) throws Throwable {
            Object value = null;
            try {
                if (input != null) {
                    value = serializer == null ? Beans.bind(Json.parse(event), input) : serializer.fromJson(new ByteArrayInputStream(event), input);
                }
            } catch (Throwable failed) {
                throw new RuntimeException("An error occurred during JSON parsing", Fault.filtered(failed));
            }
            Object result = handle(value, context);
            try {
                if (output == null) {
                    return NULL;
                }
                if (serializer == null) {
                    return Json.write(result);
                }
                ByteArrayOutputStream out = new ByteArrayOutputStream();
                serializer.toJson(result, out, output);
                return out.toByteArray();
            } catch (Throwable failed) {
                throw new RuntimeException("An error occurred during JSON serialization of response", failed);
            }
        }
    }

    static String text(byte[] data) {
        return new String(data, StandardCharsets.UTF_8);
    }
}

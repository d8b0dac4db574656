package lamplight;

/**
 * What a virtual machine runs whose classes are to be archived: all of ours, and what most functions use of the library. No function's code
 * is there.
 */
public final class Training {
    private Training() {}

    public static void main(String[] given) throws Throwable {
        for (String name : new String[] {"Frames", "Http", "Fault", "Beans", "Json", "Transport$Event", "Environment"}) {
            Class.forName("lamplight." + name);
        }
        Bootstrap.warm();
    }
}
